"""What a container finds in its environment, read from its Pod as the kubelet reads it."""

import re

REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class Unsupported(Exception):
    """The Pod asks for what this stand-in does not do."""


class NotYet(Exception):
    """The Pod asks for what is not there; it may come."""

    def __init__(self, message, reason="CreateContainerConfigError"):
        super().__init__(message)
        self.reason = reason


def expand(text, known):
    """$(NAME), as in command, args and env; $$ is a $; names that are not known stay."""
    def value(match):
        return "$" if match[1] == "$" else known.get(match[2], match[0])

    return REFERENCE.sub(value, text)


def quantity(text):
    """A number of the API, in units of one."""
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()
    return float(number) * UNITS[unit]


def field(pod, path):
    """What fieldRef can name. `pod` is the object, with its addresses in the status."""
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path)
    if keyed:
        return pod["metadata"].get(keyed[1], {}).get(keyed[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        values = pod["metadata"].get(path.partition(".")[2], {})
        return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))
    if path in ("status.podIPs", "status.hostIPs"):
        return pod["status"][path[len("status."):-1]]
    found = pod
    for step in path.split("."):
        if step not in found:
            raise Unsupported(f"fieldRef {path}")
        found = found[step]
    return found


def resource_field(container, reference):
    kind, _, resource = reference["resource"].partition(".")
    asked = container.get("resources", {}).get(kind, {}).get(resource)
    if asked is None:
        raise Unsupported(f"resourceFieldRef {reference['resource']} of a container without it")
    in_units = quantity(asked) / (quantity(reference.get("divisor", 0)) or 1)
    return str(-int(-in_units // 1))  # rounded up


def service_variables(services, namespace, links):
    """Of the Services of the namespace, if the Pod wants them, and always of the API server's."""
    known = {}
    for service in services:
        where, name = service["metadata"]["namespace"], service["metadata"]["name"]
        address = service["spec"].get("clusterIP")
        if address in (None, "", "None") or not (
                (where, name) == ("default", "kubernetes") or links and where == namespace):
            continue
        prefix = name.upper().replace("-", "_")
        ports = service["spec"]["ports"]
        known[f"{prefix}_SERVICE_HOST"] = address
        known[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        known[f"{prefix}_PORT"] = f"{ports[0]['protocol'].lower()}://{address}:{ports[0]['port']}"
        for port in ports:
            number, protocol = str(port["port"]), port["protocol"]
            if "name" in port:
                suffix = port["name"].upper().replace("-", "_")
                known[f"{prefix}_SERVICE_PORT_{suffix}"] = number
            stem = f"{prefix}_PORT_{number}_{protocol}"
            known[stem] = f"{protocol.lower()}://{address}:{number}"
            known[f"{stem}_PROTO"] = protocol.lower()
            known[f"{stem}_PORT"] = number
            known[f"{stem}_ADDR"] = address
    return known


def container_environment(pod, container, services, data_of):
    """data_of(kind, name, optional): the data of a ConfigMap or Secret in the namespace as text."""
    spec = pod["spec"]
    variables = service_variables(services, pod["metadata"]["namespace"],
                                  spec.get("enableServiceLinks", True))
    own = {}
    for source in container.get("envFrom", []):
        for kind, reference in references(source):
            data = data_of(kind, reference["name"], reference.get("optional", False))
            own.update({source.get("prefix", "") + key: value for key, value in data.items()})
    for one in container.get("env", []):
        value = env_value(pod, container, one, data_of, {**variables, **own})
        if value is not None:
            own[one["name"]] = value
    return {"PATH": DEFAULT_PATH, "HOSTNAME": pod["metadata"]["name"], **variables, **own}


def references(source):
    kinds = {"configMapRef": "configmaps", "secretRef": "secrets"}
    return [(kinds[key], source[key]) for key in kinds if key in source]


def env_value(pod, container, one, data_of, known):
    source = one.get("valueFrom")
    if source is None:
        return expand(one.get("value", ""), known)
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_field(container, source["resourceFieldRef"])
    for key, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if key in source:
            reference = source[key]
            optional = reference.get("optional", False)
            data = data_of(kind, reference["name"], optional)
            if reference["key"] not in data and not optional:
                raise NotYet(f"{kind} {reference['name']} has no key {reference['key']}")
            return data.get(reference["key"])
    raise Unsupported(f"env {one['name']} from {', '.join(source)}")
