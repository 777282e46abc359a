"""`debug dump` of a namespace: what is in the archive, and what never is."""

import base64
import contextlib
import http.server
import re
import ssl
import subprocess
import tarfile
import threading

import yaml

from harness.documents import document
from harness.waiting import wait_until

from kube.gateway import Gateway
from kube.namespace import NODE

POD_LABEL = "app.kubernetes.io%2Fname%3Distmo"
CODE = "a-code-that-nobody-may-see"
PASSWORD = "a-password-of-the-environment"
KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----", re.DOTALL)


class Logs(http.server.BaseHTTPRequestHandler):
    """Of containers, as a kubelet serves them."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        kind = "previous" if "previous=true" in query else "current"
        body = f"{kind} log of {path}, which names {CODE}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def kubelet(cluster):
    """The node's, as far as logs are concerned. API servers check no certificate of a kubelet."""
    credentials = cluster.authority.issue_to_server("kubelet", ["localhost"], ["127.0.0.1"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*credentials)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Logs)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster.admin_api.patch(f"/api/v1/nodes/{NODE}/status", {"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_address[1]}}}})
    yield
    server.shutdown()
    server.server_close()


def gateway_pod(namespace):
    (pod,) = namespace.api.get(namespace.path(f"pods?labelSelector={POD_LABEL}"))["items"]
    return pod


def install(world, namespace):
    """Runs `istmo init`, whose pod is made ready, and has been restarted, in place of a kubelet."""
    running = subprocess.Popen(
        [str(world.istmo), "--kubeconfig", str(namespace.kubeconfig), "init"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pod = wait_until(lambda: gateway_pod(namespace), "the gateway's pod")
    name, (container,) = pod["metadata"]["name"], pod["spec"]["containers"]
    namespace.run_pod(name, "10.9.8.7")
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0, out
    namespace.set_pod_ready(name, "True", containerStatuses=[{
        "name": container["name"], "image": container["image"], "imageID": "", "ready": True,
        "restartCount": 1, "state": {"running": {}}}])
    return name, container["name"]


def unpacked(path):
    with tarfile.open(path, "r:gz") as archive:
        return {member.name.split("/", 1)[1]: archive.extractfile(member).read()
                for member in archive.getmembers()}


def secret_values(namespace):
    """Whatever a Secret of the namespace has that is no certificate; of texts, keys and codes."""
    values = {CODE.encode(), PASSWORD.encode()}
    for secret in namespace.api.get(namespace.path("secrets"))["items"]:
        for key, encoded in secret.get("data", {}).items():
            text = base64.b64decode(encoded)
            values.update(KEY.findall(text.replace(b"\\n", b"\n")))
            if key == "tls.key":
                values |= {text, encoded.encode()}
                values.update(line for line in text.split(b"\n") if len(line) > 30)
    return values


def test_an_archive_has_what_is_asked_for_and_no_secret(world, cluster, namespace):
    pod, container = install(world, namespace)
    gateway = Gateway(world, namespace, has_site=True)
    gateway.put(document("AccessGrant", "given", {"code": CODE}))
    gateway.put(document("Certificate", "east", {"subject": "east", "client": True}))
    gateway.put(document("Listener", "odd", {"routingKey": CODE, "host": "odd", "port": 80}))
    gateway.put_text("broken", f"kind: [{CODE}\n")
    gateway.wait_kept_status("Certificate", "east")
    gateway.wait_service("odd")
    wait_until(lambda: namespace.api.get(namespace.path("secrets/east")), "Secret east")
    namespace.kubectl("set", "env", "deployment/istmo", f"PASSWORD={PASSWORD}")
    file = world.folder / "dump.tar.gz"
    with kubelet(cluster):
        said = world.run_istmo("--kubeconfig", namespace.kubeconfig, "debug", "dump", file)
    assert said.stdout == f"Istmo dump details written to compressed archive: {file}\n"
    files = unpacked(file)
    for kind, name in (("Deployment", "istmo"), ("Pod", pod), ("Service", "odd"),
                       ("ConfigMap", "istmo-overview"), ("Secret", "east")):
        items = yaml.safe_load(files[f"resources/{kind}.yaml"])["items"]
        assert name in [made["metadata"]["name"] for made in items]
    assert b"DocumentError" in files["resources/Event.yaml"]
    documents = yaml.safe_load(files["documents.yaml"])["items"]
    assert {"Site", "AccessGrant", "Certificate"} <= {made["kind"] for made in documents}
    assert b"ready" in files["overview/site.yaml"].lower()
    assert b"current log" in files[f"logs/{pod}-{container}.txt"]
    assert b"previous log" in files[f"logs/{pod}-{container}-previous.txt"]
    # Nobody is at the address of the pod.
    assert f"metrics/{pod}.txt: metrics of pod {pod}" in said.stderr
    assert said.stderr.encode().endswith(files["problems.txt"])

    hidden = secret_values(namespace)
    assert len(hidden) >= 9
    for name, text in files.items():
        assert b"PRIVATE KEY" not in text
        for value in hidden:
            assert value not in text, (name, value)
            assert base64.b64encode(value) not in text, (name, value)


def test_who_may_not_see_something_gets_the_rest(world, cluster, namespace):
    Gateway(world, namespace, document("Listener", "web", {
        "routingKey": "web", "host": "web", "port": 80})).wait_service("web")
    credentials = cluster.authority.issue_to_user("viewer")
    viewer = cluster.kubeconfig("viewer", credentials, namespace.name)
    namespace.bind("view", {"kind": "User", "name": "viewer",
                            "apiGroup": "rbac.authorization.k8s.io"})
    file = world.folder / "dump.tar.gz"

    def dumped():
        said = world.run_istmo("--kubeconfig", viewer, "debug", "dump", file).stderr
        return said if "resources/ConfigMap.yaml" not in said else None

    said = wait_until(dumped, "the viewer to have the right")
    assert "resources/Secret.yaml: list secrets: the API server answered 403" in said
    files = unpacked(file)
    assert "resources/Secret.yaml" not in files
    assert b"listener-web" in files["resources/ConfigMap.yaml"]
