"""Documents as Python maps. YAML is a superset of JSON, so JSON is what is written."""

import json

API_VERSION = "skupper.io/v2alpha1"


def document(kind, name, spec=None, settings=None, **metadata):
    made = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, **metadata},
            "spec": dict(spec or {})}
    if settings:
        made["spec"]["settings"] = settings
    return made


def site(name, link_access=None):
    return document("Site", name, {"linkAccess": link_access} if link_access else {})


def listener(name, address, key="echo", **settings):
    return document("Listener", name,
                    {"routingKey": key, "host": address[0], "port": address[1]}, settings)


def connector(name, address, key="echo", **settings):
    return document("Connector", name,
                    {"routingKey": key, "host": address[0], "port": address[1]}, settings)


def text_of(documents):
    return "---\n".join(json.dumps(made, indent=1) + "\n" for made in documents)
