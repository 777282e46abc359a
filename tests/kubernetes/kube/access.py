"""Who one is to the API server: kubeconfig files, kubectl, plain requests, a pod's own access."""

import base64
import contextlib
import http.client
import itertools
import json
import os
import ssl
import subprocess

PATIENCE_SECONDS = 60

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {user}@test
  context:
    cluster: test
    user: {user}
    namespace: {namespace}
current-context: {user}@test
"""


def write_kubeconfig(file, server, ca_file, user, credentials, namespace="default"):
    def data(path):
        return base64.b64encode(path.read_bytes()).decode()

    file.touch(0o600)
    file.write_text(KUBECONFIG.format(
        server=server, user=user, namespace=namespace, ca=data(ca_file),
        certificate=data(credentials.certificate), key=data(credentials.key)))


def write_account_kubeconfig(file, server, access):
    """Of a ServiceAccountAccess. JSON, which YAML includes."""
    named = {"cluster": "cluster", "user": access.account, "namespace": access.namespace}
    file.touch(0o600)
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "only",
        "contexts": [{"name": "only", "context": named}],
        "clusters": [{"name": "cluster", "cluster": {
            "server": server, "certificate-authority": str(access.folder / "ca.crt")}}],
        "users": [{"name": access.account, "user": {
            "tokenFile": str(access.folder / "token")}}]}))


class Kubectl:
    """kubectl as one user: `kubectl("get", "pods")`."""

    def __init__(self, program, kubeconfig, environment):
        self.program = program
        self.environment = {**environment, "KUBECONFIG": str(kubeconfig)}

    def __call__(self, *words, input=None, expect=0):
        """Runs it to its end. expect=None accepts every exit code. `input`: text, or an object."""
        if input is not None and not isinstance(input, str):
            input = json.dumps(input)
        done = subprocess.run([str(self.program), *map(str, words)], text=True, input=input or "",
                              capture_output=True, env=self.environment, timeout=PATIENCE_SECONDS)
        line = " ".join(map(str, words))
        assert expect is None or done.returncode == expect, (
            f"`kubectl {line}` ended with {done.returncode}, not {expect}:\n"
            f"{done.stdout}{done.stderr}")
        return done

    def json(self, *words):
        return json.loads(self(*words, "-o", "json").stdout)


class RequestFailed(AssertionError):
    def __init__(self, line, code, body):
        super().__init__(f"{line}: {code}\n{body}")
        self.code = code


class Api:
    """Requests to the API server as one user, by certificate or by token. A connection each."""

    def __init__(self, address, ca_file, credentials=None, token=None):
        self.address = address
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.tls = ssl.create_default_context(cafile=str(ca_file))
        if credentials:
            self.tls.load_cert_chain(credentials.certificate, credentials.key)

    def connection(self):
        return http.client.HTTPSConnection(*self.address, timeout=PATIENCE_SECONDS,
                                           context=self.tls)

    @contextlib.contextmanager
    def answer(self, method, target, body=None, kind="application/json"):
        """The response, its status and body as they come."""
        connection = self.connection()
        with contextlib.closing(connection):
            headers = {**self.headers, **({"Content-Type": kind} if body is not None else {})}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            yield connection.getresponse()

    def code(self, method, target, body=None):
        with self.answer(method, target, body) as response:
            return response.status

    def text(self, method, target, body=None, **options):
        """The body of a 2xx answer; RequestFailed else."""
        with self.answer(method, target, body, **options) as response:
            text = response.read().decode()
            if response.status // 100 != 2:
                raise RequestFailed(f"{method} {target}", response.status, text)
            return text

    def get(self, target):
        return json.loads(self.text("GET", target))

    def post(self, target, body):
        return json.loads(self.text("POST", target, body))

    def patch(self, target, body):
        return json.loads(self.text("PATCH", target, body, kind="application/merge-patch+json"))

    def delete(self, target, body=None):
        return json.loads(self.text("DELETE", target, body))

    def watch(self, target, seconds=10):
        """The events of a watch, until the server ends it after so many seconds."""
        joint = "&" if "?" in target else "?"
        with self.answer("GET", f"{target}{joint}watch=1&timeoutSeconds={seconds}") as response:
            assert response.status == 200, response.read()
            for line in response:
                yield json.loads(line)


class ServiceAccountAccess:
    """The folder that a pod of a service account finds mounted, as the kubelet lays it out.

    `environment` holds what else a pod is told. renew() puts a new token there in one step.
    """

    def __init__(self, folder, cluster, namespace, account):
        self.folder = folder
        self.cluster = cluster
        self.namespace = namespace
        self.account = account
        self.generations = itertools.count(1)
        self.environment = {"KUBERNETES_SERVICE_HOST": cluster.address[0],
                            "KUBERNETES_SERVICE_PORT": str(cluster.address[1])}
        folder.mkdir()
        self.renew()
        for name in ("ca.crt", "token", "namespace"):
            (folder / name).symlink_to(f"..data/{name}")

    @property
    def token(self):
        return (self.folder / "token").read_text()

    def renew(self, seconds=3600):
        """Files of their own folder, which the link `..data` names: replaced at once."""
        token = self.cluster.admin("create", "token", self.account, "-n", self.namespace,
                                   f"--duration={seconds}s").stdout.strip()
        now = self.folder / f"..{next(self.generations)}"
        now.mkdir()
        (now / "ca.crt").write_bytes(self.cluster.ca_file.read_bytes())
        (now / "token").write_text(token)
        (now / "namespace").write_text(self.namespace)
        link = self.folder / "..data_tmp"
        link.symlink_to(now.name)
        os.replace(link, self.folder / "..data")
