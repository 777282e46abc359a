#!/usr/bin/env python3
"""kubernetes_base.py ISTMO: writes config/kubernetes/base and example/site.yaml anew.

They hold what `istmo init --platform kubernetes --output yaml` prints, so that what a site needs in
its namespace has one origin. A test of tests/kubernetes compares both. The Helm chart says the same
in its own words, and another test says where it does not.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

NAMESPACE = "oeste"  # of the example; the base names none
KUBERNETES = pathlib.Path(__file__).resolve().parent.parent / "config" / "kubernetes"
BASE = KUBERNETES / "base" / "istmo.yaml"
SITE = KUBERNETES / "example" / "site.yaml"
MADE_BY = "# Made by tools/kubernetes_base.py from what `istmo init` prints: edit that.\n"

# To print a manifest no API server is asked.
KUBECONFIG = f"""apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{{name: nowhere, cluster: {{server: "https://localhost"}}}}]
users: [{{name: nobody, user: {{}}}}]
contexts: [{{name: nowhere, context: {{cluster: nowhere, user: nobody, namespace: {NAMESPACE}}}}}]
"""


def printed(istmo, *words):
    """What `istmo init` prints with these options."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = pathlib.Path(folder) / "config"
        kubeconfig.write_text(KUBECONFIG)
        return subprocess.run([istmo, "init", "--platform", "kubernetes", "--kubeconfig",
                               kubeconfig, "--output", "yaml", *words], check=True, env=os.environ,
                              stdout=subprocess.PIPE, text=True).stdout


def files(istmo):
    """{file: text}. The base without namespace: kustomize puts the overlay's in its place."""
    site, *rest = printed(istmo).split("---\n")
    assert "kind: ConfigMap" in site, "the site's document is printed first"
    base = re.sub(rf"\n *namespace: {NAMESPACE}\n", "\n", "---\n".join(rest))
    return {BASE: MADE_BY + base, SITE: MADE_BY + site}


def main():
    for file, text in files(sys.argv[1]).items():
        file.write_text(text)


if __name__ == "__main__":
    main()
