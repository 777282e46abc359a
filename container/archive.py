#!/usr/bin/env python3
"""archive.py LAYOUT NAME TAG FILE: an OCI image layout, as one file that everything loads.

The archive is an OCI image layout (podman, containerd, CRI-O and newer Docker read that) and has
Docker's manifest.json beside it, which names the same blobs, for Docker before 25. The same layout
gives the same octets.
"""

import json
import pathlib
import sys
import tarfile
from io import BytesIO


def blob_path(digest):
    return "blobs/" + digest.replace(":", "/")


def read_blob(layout, digest):
    return json.loads((layout / blob_path(digest)).read_text())


def docker_manifest(layout, index, name, tag):
    (image,) = index["manifests"]
    manifest = read_blob(layout, image["digest"])
    return [{"Config": blob_path(manifest["config"]["digest"]), "RepoTags": [f"{name}:{tag}"],
             "Layers": [blob_path(layer["digest"]) for layer in manifest["layers"]]}]


def named(index, name, tag):
    """containerd takes the whole name from one annotation, others from another."""
    (image,) = index["manifests"]
    image["annotations"] = {"io.containerd.image.name": f"docker.io/library/{name}:{tag}",
                            "org.opencontainers.image.ref.name": f"{name}:{tag}"}
    return index


def write(layout, name, tag, file):
    index = json.loads((layout / "index.json").read_text())
    texts = {"manifest.json": docker_manifest(layout, index, name, tag),
             "index.json": named(index, name, tag)}
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
        def add(path, octets):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(octets), 0o644
            archive.addfile(member, BytesIO(octets))

        add("oci-layout", (layout / "oci-layout").read_bytes())
        for path, value in sorted(texts.items()):
            add(path, json.dumps(value, sort_keys=True).encode())
        for blob in sorted((layout / "blobs").rglob("*")):
            if blob.is_file():
                add(str(blob.relative_to(layout)), blob.read_bytes())


def main():
    layout, name, tag, file = sys.argv[1:]
    write(pathlib.Path(layout), name, tag, file)


if __name__ == "__main__":
    main()
