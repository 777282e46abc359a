"""What config/kubernetes ships says what init prints, and an admin of a namespace can apply it."""

import difflib
import json
import re
import shutil
import sys

import pytest
import yaml

from harness.waiting import wait_until
from harness.world import TOP

from kube.access import Api

SHIPPED = TOP / "config" / "kubernetes"
CHART = SHIPPED / "chart"
EXAMPLE_NAMESPACE = "oeste"

sys.path.insert(0, str(TOP / "tools"))

import kubernetes_base  # noqa: E402

CHART_VALUES = {
    "as it is": [],
    "everything": [
        "--set", "networkPolicy.enabled=true", "--set", "podDisruptionBudget.enabled=true",
        "--set", "autoscaling.enabled=true", "--set", "resources.requests.cpu=250m",
        "--set", "resources.limits.memory=256Mi", "--set", "imagePullSecrets={pull}",
        "--set", "podAnnotations.example\\.com/what=gateway", "--set-json",
        'networkPolicy.monitoring=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]'],
    "reachable": ["--set", "service.type=LoadBalancer", "--set", "siteName=west",
                  "--set", "linkAccess=loadbalancer", "--set", "replicas=2",
                  "--set", "podDisruptionBudget.enabled=true",
                  "--set-string", "podDisruptionBudget.maxUnavailable=50%"],
    "io_uring": ["--set", "seccomp.type=Localhost", "--set", "drainSeconds=600"]}

# Values of the chart, and options of `init` that mean the same.
SAME = {
    "as it is": ([], []),
    "nodeport": (["--set", "linkAccess=nodeport,ingressHosts={a.example,10.0.0.9}"],
                 ["--ingress", "nodeport", "--ingress-host", "a.example",
                  "--ingress-host", "10.0.0.9"]),
    "route": (["--set", "linkAccess=route"], ["--ingress", "route"]),
    "route of a domain": (["--set", "linkAccess=route,ingressHosts={apps.example}"],
                          ["--ingress", "route", "--ingress-host", "apps.example"]),
    "ingress": (["--set", "linkAccess=ingress,ingressHosts={apps.example},ingress.className=nginx"],
                ["--ingress", "ingress", "--ingress-host", "apps.example",
                 "--ingress-class", "nginx"]),
    "gateway": (["--set", "linkAccess=gateway,ingressHosts={apps.example}",
                 "--set", "ingress.gateway=edge/public"],
                ["--ingress", "gateway", "--ingress-host", "apps.example",
                 "--ingress-gateway", "edge/public"]),
    "unreachable": (["--set", "linkAccess=none,siteName=west"],
                    ["--ingress", "none", "--site-name", "west"]),
    "image": (["--set", "image.repository=registry.example:5000/istmo,image.tag=v7",
               "--set", "imagePullSecrets={pull}"],
              ["--image", "registry.example:5000/istmo:v7", "--image-pull-secret", "pull"])}

WRONG_VALUES = {
    "replica=2": "replica", "drainSeconds=soon": "drainSeconds", "service.type=Magic": "type",
    "linkAccess=maybe": "linkAccess", "seccomp.type=Unconfined": "type",
    "autoscaling.enabled=true": "resources", "linkAccess=ingress": "ingressHosts",
    "linkAccess=gateway,ingressHosts={apps.example}": "gateway", "siteName=West": "siteName"}


@pytest.fixture
def helm(world, cluster):
    def run(*words, **options):
        return world.run([cluster.tools / "helm", *words], **options)
    return run


@pytest.fixture
def chart(helm, cluster):
    """The text of the chart as it would be installed."""
    def run(namespace, *values, **options):
        version = cluster.admin.json("version")["serverVersion"]["gitVersion"]
        done = helm("template", "istmo", CHART, "--namespace", namespace, "--kube-version",
                    version, *values, **options)
        return done.stdout if done.returncode == 0 else done.stderr
    return run


@pytest.fixture
def overlay(world, cluster):
    """The text of the example, made that of a namespace as its first lines say."""
    def run(namespace, everything=False):
        folder = world.folder / "kubernetes"
        shutil.copytree(SHIPPED, folder)
        for name in ("kustomization.yaml", "site.yaml"):
            file = folder / "example" / name
            text = file.read_text().replace(EXAMPLE_NAMESPACE, namespace)
            file.write_text(text.replace("# - ../", "- ../") if everything else text)
        return world.run([cluster.tools / "kubectl", "kustomize", folder / "example"]).stdout
    return run


@pytest.fixture(scope="module")
def restricted(cluster):
    """A namespace where pods have to be as Pod Security `restricted` wants them."""
    made = cluster.namespace("restricted")
    for what in ("enforce", "warn"):
        cluster.admin("label", "namespace", made.name,
                      f"pod-security.kubernetes.io/{what}=restricted")
    yield made
    made.delete()


def objects_of(text):
    """{(kind, name): object}, comparable: without namespace, documents as what they mean."""
    found = {}
    for made in filter(None, yaml.safe_load_all(text)):
        made["metadata"].pop("namespace", None)
        if made["kind"] == "ConfigMap":
            made["data"] = {key: list(yaml.safe_load_all(value))
                            for key, value in made["data"].items()}
        found[made["kind"], made["metadata"]["name"]] = made
    return found


def lines_of(objects):
    return [line for name in sorted(objects) for line in ["---", *yaml.dump(
        objects[name]).splitlines()]]


def assert_says(text, origin):
    """Both texts mean the same objects. Else the lines by which `text` differs are shown."""
    one, other = (lines_of(objects_of(what)) for what in (text, origin))
    assert one == other, "\n".join(difflib.unified_diff(other, one, "origin", "text", lineterm=""))


def assert_admitted(namespace, text):
    """All of it, as the admin of the namespace, and a pod of its Deployment as well.

    The Role and the ServiceAccount are made in earnest: without them the API server answers for
    neither the RoleBinding nor the pod.
    """
    made = list(filter(None, yaml.safe_load_all(text)))
    for needed in made:
        if needed["kind"] in ("Role", "ServiceAccount"):
            namespace.kubectl("apply", "-f", "-", input=needed)
    done = namespace.kubectl("apply", "--dry-run=server", "-f", "-", input=text)
    assert "arning" not in done.stderr
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": "gateway", "labels": template["metadata"]["labels"]},
           "spec": template["spec"]}
    namespace.kubectl("apply", "--dry-run=server", "-f", "-", input=pod)
    return done.stdout


def test_the_base_is_what_init_prints(world):
    for file, text in kubernetes_base.files(world.istmo).items():
        assert file.read_text() == text, f"out of date: tools/kubernetes_base.py {world.istmo}"


@pytest.mark.parametrize("values,words", SAME.values(), ids=SAME)
def test_the_chart_says_what_init_prints(chart, world, values, words):
    printed = kubernetes_base.printed(world.istmo, *words)
    assert_says(chart(kubernetes_base.NAMESPACE, *values), printed)


def test_the_chart_with_all_of_the_example_says_what_the_example_does(chart, overlay):
    from_chart = chart("west", "--set", "networkPolicy.enabled=true", "--set",
                       "podDisruptionBudget.enabled=true", "--set", "autoscaling.enabled=true",
                       "--set", "seccomp.type=Localhost", "--set", "resources.requests.cpu=250m",
                       "--set", "resources.requests.memory=64Mi")
    assert_says(from_chart, overlay("west", everything=True))


def test_the_chart_is_of_the_version_of_the_binary(world):
    version = world.run_istmo("--version").stdout.split()[-1]
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (version, version)


def test_helm_finds_nothing_wrong_in_the_chart(helm):
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART).stdout


def test_the_chart_brings_no_custom_resource_definitions(chart):
    kinds = {made["kind"] for made in yaml.safe_load_all(chart("west"))}
    assert "Deployment" in kinds and "CustomResourceDefinition" not in kinds
    assert not (CHART / "crds").exists()


@pytest.mark.parametrize("values", CHART_VALUES.values(), ids=CHART_VALUES)
def test_the_chart_is_admitted_by_a_restricted_namespace(chart, restricted, values):
    assert_admitted(restricted, chart(restricted.name, *values))


@pytest.mark.parametrize("everything", [False, True], ids=["example", "everything"])
def test_the_example_is_admitted_by_a_restricted_namespace(overlay, restricted, everything):
    made = assert_admitted(restricted, overlay(restricted.name, everything))
    assert "networkpolicy" in made and "poddisruptionbudget" in made
    assert ("horizontalpodautoscaler" in made) == everything


def test_helm_installs_and_removes_the_chart_with_the_rights_of_the_namespace(helm, namespace):
    def labelled(resource, group=None):
        target = namespace.path(f"{resource}?labelSelector=app.kubernetes.io%2Fname%3Distmo", group)
        return [made["metadata"]["name"] for made in namespace.api.get(target)["items"]]

    kubeconfig = ("--kubeconfig", namespace.kubeconfig, "--namespace", namespace.name)
    helm("install", "istmo", CHART, *kubeconfig)
    assert labelled("deployments", "apps/v1") == ["istmo"]
    assert labelled("services") == ["istmo", "istmo-replicas"]
    assert labelled("configmaps") == [f"site-{namespace.name}"]
    helm("upgrade", "istmo", CHART, *kubeconfig, "--set", "replicas=2")
    deployment = namespace.api.get(namespace.path("deployments/istmo", "apps/v1"))
    assert deployment["spec"]["replicas"] == 2
    helm("uninstall", "istmo", *kubeconfig)
    assert not labelled("services") and not labelled("configmaps")
    assert namespace.api.get(namespace.path("secrets"))["items"] == []


@pytest.mark.parametrize("wrong", WRONG_VALUES)
def test_a_wrong_value_is_named(chart, wrong):
    refused = chart("west", "--set", wrong, expect=1)
    assert WRONG_VALUES[wrong] in refused


def test_the_disruption_budget_lets_one_gateway_go_at_a_time(namespace):
    folder = SHIPPED / "components" / "pod-disruption-budget"
    namespace.kubectl("apply", "-f", folder / "pod-disruption-budget.yaml")
    budget = namespace.api.get(namespace.path("poddisruptionbudgets/istmo", "policy/v1"))
    assert budget["spec"]["maxUnavailable"] == 1


def test_the_seccomp_profile_is_in_the_form_that_every_runtime_reads():
    profile = json.loads((SHIPPED / "seccomp" / "istmo.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    # Not the form of Docker: containerd reads neither its archMap nor its includes.
    assert set(profile) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    allowed = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert {"io_uring_setup", "io_uring_enter", "io_uring_register"} <= allowed
    assert not allowed & {"clone3", "mount", "unshare", "setns", "ptrace", "bpf", "keyctl",
                          "userfaultfd", "perf_event_open", "process_vm_writev", "init_module"}


def test_the_attached_role_lets_a_site_of_another_namespace_see_pods_and_no_secrets(
        world, cluster, new_namespace):
    site, attached = new_namespace("site"), new_namespace("attached")
    site.kubectl("create", "serviceaccount", "istmo")
    text = (SHIPPED / "attached-role.yaml").read_text().replace("SITE_NAMESPACE", site.name)
    attached.kubectl("apply", "-f", "-", input=text)
    printed = world.run_istmo("generate", "attached-role", "--namespace-of-site", site.name,
                              "-n", attached.name).stdout

    def named(texts):
        return [(made["kind"], made["metadata"]["name"], made.get("rules"), made.get("roleRef"))
                for made in yaml.safe_load_all(texts)]

    assert named(printed) == named(text)
    access = cluster.service_account_access(site, "istmo")
    api = Api(cluster.address, access.folder / "ca.crt", token=access.token)
    wait_until(lambda: api.code("GET", attached.path("pods")) == 200, "the binding to act")
    assert api.code("GET", attached.path("configmaps")) == 200
    assert api.code("GET", attached.path("secrets")) == 403
    assert api.code("POST", attached.path("configmaps"), {"metadata": {"name": "mine"}}) == 403


def test_every_file_that_kustomize_names_is_there():
    for file in SHIPPED.rglob("kustomization.yaml"):
        listed = yaml.safe_load(file.read_text())
        commented = re.findall(r"^ *# - (\.\./\S+)", file.read_text(), re.MULTILINE)
        for name in [*listed.get("resources", []), *listed.get("components", []), *commented]:
            assert (file.parent / name).exists(), f"{file}: {name}"
