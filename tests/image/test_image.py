"""The image is small, says what is in it, starts as a pod would start it, and carries traffic."""

import hashlib
import json
import os
import re
import signal
import stat
import tarfile

import pytest
import yaml

from harness.documents import connector, listener, text_of
from harness.sockets import octets, read_exactly
from harness.waiting import wait_until
from harness.world import TOP

MEBIBYTE = 1 << 20
USER = 65532
KUBERNETES = TOP / "config" / "kubernetes"
PROFILE = KUBERNETES / "seccomp" / "istmo.json"

# Options of podman, and whether they let io_uring through.
PROFILES = {"the default profile": ([], False),
            "the shipped profile": (["--security-opt", f"seccomp={PROFILE}"], True)}


def has_ring(pid):
    return "anon_inode:[io_uring]" in {os.readlink(entry.path)
                                       for entry in os.scandir(f"/proc/{pid}/fd")}


def test_it_is_smaller_than_60_mebibytes(image):
    assert image.config["Size"] < 60 * MEBIBYTE
    assert image.archive.stat().st_size < 60 * MEBIBYTE


def test_its_name_is_what_the_manifests_ask_for(image):
    objects = yaml.safe_load_all((KUBERNETES / "base" / "istmo.yaml").read_text())
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert image.name in (f"docker.io/library/{container['image']}",
                          f"localhost/{container['image']}")
    done = image.world.run(image.run_words("--network", "none", arguments=["--version"]))
    assert done.stdout == container["image"].replace(":", " ") + "\n"


def test_its_user_is_a_number_that_is_not_root(image, files):
    assert image.config["User"] == f"{USER}:{USER}"
    passwd = files["etc/passwd"][1].decode()
    assert f"istmo:x:{USER}:{USER}:" in passwd
    state = files["state"][0]
    assert (state.uid, state.gid, stat.S_IMODE(state.mode)) == (USER, USER, 0o700)


def test_nothing_in_it_gives_rights_to_who_starts_or_finds_it(files):
    for name, (member, _) in files.items():
        assert not member.mode & (stat.S_ISUID | stat.S_ISGID), name
        assert not member.mode & stat.S_IWOTH or member.issym() or name == "tmp", name
        assert (member.uid, member.gid) == (0, 0) or name == "state", name


def test_it_has_one_program_and_no_shell(files):
    programs = {name for name, (member, _) in files.items()
                if re.match(r"usr/s?bin/.", name) and not member.isdir()}
    assert programs == {"usr/bin/istmo"}


def test_the_binary_is_stripped(files):
    assert b".symtab" not in files["usr/bin/istmo"][1]


def test_its_openssl_is_that_of_debian_13(files):
    version = re.search(rb"^Version: (\S+)", files["var/lib/dpkg/status.d/libssl3t64"][1],
                        re.MULTILINE)[1]
    assert version.startswith(b"3.5.")


def test_the_bill_of_materials_names_every_package_and_is_in_the_image_too(image, files):
    text = image.sbom.read_text()
    assert files["usr/share/sbom/istmo.cdx.json"][1].decode() == text
    bill = json.loads(text)
    parts = {part["name"]: part for part in bill["components"]}
    packages = {name.rpartition("/")[2] for name, (member, _) in files.items()
                if name.startswith("var/lib/dpkg/status.d/") and member.isreg()}
    assert packages and packages <= set(parts)
    # What is compiled in and has no library in the image.
    assert {"libcli11-dev", "nlohmann-json3-dev"} == set(parts) - packages
    for name, part in parts.items():
        assert part["version"] and part["licenses"] and part["purl"].startswith("pkg:deb/"), name
        assert {one["name"] for one in part["properties"]} >= {"debian:source"}, name
        assert files[f"usr/share/doc/{name}/copyright"][1], name
    (digest,) = bill["metadata"]["component"]["hashes"]
    assert digest["content"] == hashlib.sha256(files["usr/bin/istmo"][1]).hexdigest()


def test_the_archive_is_both_an_oci_layout_and_what_docker_saves(image):
    with tarfile.open(image.archive) as archive:
        def read(path):
            return archive.extractfile(path).read()

        def blob(digest):
            content = read("blobs/" + digest.replace(":", "/"))
            assert "sha256:" + hashlib.sha256(content).hexdigest() == digest
            return content

        assert json.loads(read("oci-layout"))["imageLayoutVersion"] == "1.0.0"
        (entry,) = json.loads(read("index.json"))["manifests"]
        manifest = json.loads(blob(entry["digest"]))
        (saved,) = json.loads(read("manifest.json"))
        assert json.loads(read(saved["Config"])) == json.loads(blob(manifest["config"]["digest"]))
        (layer,) = manifest["layers"]
        assert read(saved["Layers"][0]) == blob(layer["digest"])
        (tag,) = saved["RepoTags"]
        assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/library/{tag}"


@pytest.mark.parametrize("options,may_have_rings", PROFILES.values(), ids=PROFILES)
def test_a_container_takes_the_engine_that_its_profile_allows_and_carries_traffic(
        image, world, options, may_have_rings):
    backend, inlet = world.backend(), world.address()
    documents = world.folder / "documents"
    documents.mkdir(mode=0o755)
    (documents / "all.yaml").write_text(text_of([
        listener("inlet", inlet), connector("outlet", backend.address)]))
    container = world.start("container", image.run_words(
        "--network", "host", "--name", world.mark, "--volume", f"{documents}:/documents:ro",
        *options, arguments=["run", "--io", "auto", "--state", "/state", "/documents"]))
    container.wait_for_output("ready\n")
    assert has_ring(image.pid_of(world.mark)) == may_have_rings
    sent = octets(64 * 1024)
    client = wait_until(lambda: world.connect(inlet), "the listener")
    client.sendall(sent)
    assert read_exactly(client, len(sent)) == sent
    client.close()
    container.signal(signal.SIGTERM)
    assert container.wait() == 0


def test_io_uring_is_refused_by_the_default_profile_and_said_so(image, world):
    documents = world.folder / "documents"
    documents.mkdir(mode=0o755)
    done = world.run(image.run_words(
        "--network", "none", "--volume", f"{documents}:/documents:ro",
        arguments=["run", "--io", "uring", "--state", "/state", "/documents"]), expect=1)
    assert "io_uring" in done.stdout + done.stderr
