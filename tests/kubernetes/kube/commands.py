"""`istmo` as the user of a namespace, where pods only seem to run."""

import subprocess

from harness.waiting import wait_until

OURS = "app.kubernetes.io/managed-by=istmo"
KINDS = ("all,configmaps,secrets,services,roles,rolebindings,serviceaccounts,events,leases,pdb,hpa,"
         "networkpolicies")


class Commands:
    """`istmo` as the user of a namespace."""

    def __init__(self, world, namespace):
        self.world = world
        self.namespace = namespace

    def __call__(self, *words, expect=0):
        return self.world.run_istmo("--kubeconfig", self.namespace.kubeconfig, *words,
                                    expect=expect)

    def start(self, *words):
        return subprocess.Popen(
            [str(self.world.istmo), "--kubeconfig", str(self.namespace.kubeconfig), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def gateway_pods(namespace):
    return namespace.api.get(namespace.path(
        "pods?labelSelector=app.kubernetes.io%2Fname%3Distmo"))["items"]


def install(world, namespace, *words):
    """Runs `istmo init`, whose pod is made ready in place of a kubelet."""
    running = Commands(world, namespace).start("init", *words)
    (pod,) = wait_until(lambda: gateway_pods(namespace), "the gateway's pod")
    namespace.run_pod(pod["metadata"]["name"], "10.9.8.7")
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, out + err
    return out, err
