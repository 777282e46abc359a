"""The volumes of a Pod, as folders of this machine that its containers get mounted."""

import base64
import collections
import os

from kube.environment import NotYet, Unsupported, field, quantity

ROOT = 0

File = collections.namedtuple("File", ["content", "mode", "owner"], defaults=[ROOT])


class Volumes:
    """`folders` by the volume's name. Files come in the kubelet's layout: a link per file into the
    folder that the link `..data` names."""

    def __init__(self, pod, folder):
        self.pod = pod  # a Pod of pod.py
        self.folder = folder
        self.folders = {}

    def make(self):
        """Again after NotYet: what is made stays."""
        for volume in self.pod.spec.get("volumes", []):
            name = volume["name"]
            if name in self.folders:
                continue
            kind, source = next((item for item in volume.items() if item[0] != "name"))
            place = self.folder / name
            if kind == "emptyDir":
                self.make_empty(place, source)
            else:
                self.write(place, self.files(kind, source))
            self.folders[name] = place

    def make_empty(self, place, source):
        place.mkdir(parents=True)
        if source.get("medium") == "Memory":
            size = int(quantity(source.get("sizeLimit", "64Mi")))
            self.pod.node.mount_memory(place, size)
        elif source.get("medium"):
            raise Unsupported(f"emptyDir of medium {source['medium']}")
        group = self.pod.spec.get("securityContext", {}).get("fsGroup")
        self.pod.node.in_mounts(["chmod", "2777" if group is not None else "0777", place])
        if group is not None:
            self.pod.node.in_mounts(["chgrp", str(group), place])

    def files(self, kind, source):
        """{path: File}"""
        mode = source.get("defaultMode", 0o644)
        if kind == "configMap":
            return self.keyed("configmaps", source["name"], source, mode)
        if kind == "secret":
            return self.keyed("secrets", source["secretName"], source, mode)
        if kind == "downwardAPI":
            return self.fields(source, mode)
        if kind == "projected":
            return {path: content for part in source.get("sources", [])
                    for path, content in self.projected(part, mode).items()}
        raise Unsupported(f"a volume of kind {kind}")

    def projected(self, part, mode):
        ((kind, source),) = part.items()
        if kind == "serviceAccountToken":
            token = self.pod.request_token(source.get("audience"), source["expirationSeconds"])
            owner = self.pod.only_user()
            return {source["path"]: File(token.encode(), mode) if owner is None else
                    File(token.encode(), 0o600, owner)}
        if kind in ("configMap", "secret"):
            return self.keyed(f"{kind.lower()}s", source["name"], source, mode)
        return self.files(kind, {**source, "defaultMode": mode})

    def keyed(self, resource, name, source, mode):
        optional = source.get("optional", False)
        data = self.pod.octets_of(resource, name, optional)
        if "items" not in source:
            return {key: File(value, mode) for key, value in data.items()}
        missing = [item["key"] for item in source["items"] if item["key"] not in data]
        if missing and not optional:
            raise NotYet(f"{resource} {name} has no key {', '.join(missing)}")
        return {item["path"]: File(data[item["key"]], item.get("mode", mode))
                for item in source["items"] if item["key"] in data}

    def fields(self, source, mode):
        for item in source.get("items", []):
            if "fieldRef" not in item:
                raise Unsupported("a downwardAPI item without fieldRef")
        return {item["path"]: File(field(self.pod.told, item["fieldRef"]["fieldPath"]).encode(),
                                   item.get("mode", mode)) for item in source.get("items", [])}

    def write(self, place, files):
        now = place / "..now"
        now.mkdir(parents=True)
        group = self.pod.spec.get("securityContext", {}).get("fsGroup")
        for path, made in files.items():
            file = now / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(made.content)
            file.chmod(made.mode if group is None else made.mode | 0o440)
            os.chown(file, made.owner, ROOT if group is None else group)
        (place / "..data").symlink_to(now.name)
        for first in {path.split("/")[0] for path in files}:
            (place / first).symlink_to(f"..data/{first}")


def octets(kind, seen):
    """The data of a ConfigMap or Secret."""
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in seen.get("data", {}).items()}
    return {**{key: value.encode() for key, value in seen.get("data", {}).items()},
            **{key: base64.b64decode(value) for key, value in seen.get("binaryData", {}).items()}}
