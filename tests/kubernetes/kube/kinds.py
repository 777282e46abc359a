"""The definitions of config/kubernetes/crds, in a cluster while tests need them."""

import yaml

from harness.world import TOP

CRDS = TOP / "config" / "kubernetes" / "crds"


def definition_files():
    return [CRDS / name for name in yaml.safe_load(
        (CRDS / "kustomization.yaml").read_text())["resources"] if name != "access.yaml"]


def install_kinds(cluster):
    cluster.admin("apply", "-k", CRDS)
    cluster.admin("wait", "--for=condition=Established", "--timeout=15s", "-f",
                  *",-f,".join(map(str, definition_files())).split(","))


def remove_kinds(cluster):
    cluster.admin("delete", "-k", CRDS, "--timeout=15s")
