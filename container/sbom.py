#!/usr/bin/env python3
"""What is in the image, as CycloneDX 1.5: names, versions, licences and sources of its packages.

    sbom.py --binary FILE --build FOLDER --version TEXT --licences FOLDER PACKAGE...

Runs on the Debian that the image was made from, where FOLDER is what the binary was built in: the
libraries that are headers only are found there. What Debian says of the licence of each goes into
the folder of licences. The same packages give the same text.
"""

import argparse
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import uuid

NO_CODE = {"linux-libc-dev"}  # what the kernel calls things

# The short names of Debian's machine-readable copyright files that SPDX calls otherwise.
SPDX_NAMES = {
    "Apache-2": "Apache-2.0", "Artistic": "Artistic-1.0-Perl", "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause", "BSL-1.0": "BSL-1.0", "Expat": "MIT",
    "GPL-2": "GPL-2.0-only", "GPL-2+": "GPL-2.0-or-later", "GPL-2.0+": "GPL-2.0-or-later",
    "GPL-3": "GPL-3.0-only", "GPL-3+": "GPL-3.0-or-later", "LGPL-2": "LGPL-2.0-only",
    "LGPL-2+": "LGPL-2.0-or-later", "LGPL-2.1": "LGPL-2.1-only", "LGPL-2.1+": "LGPL-2.1-or-later",
    "MPL-2.0": "MPL-2.0", "Zlib": "Zlib", "zlib": "Zlib"}
SPDX_IDS = {*SPDX_NAMES.values(), "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC",
            "MIT"}


def output_of(*words, **options):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def headers_of_build(folder):
    """Those of packages that the objects of the binary were compiled with."""
    found = set()
    for part in output_of("ninja", "-C", folder, "-t", "deps").split("\n\n"):
        target, *files = part.strip().splitlines() or [""]
        if target.startswith("src/"):
            found |= {str(pathlib.Path(file.strip()).resolve()) for file in files
                      if file.strip().startswith("/usr/")}
    return sorted(found)


def compiled_in(folder, packages):
    """Packages of headers whose library is none of the packages in the image, but in the binary."""
    owners = output_of("dpkg-query", "--search", *headers_of_build(folder))
    found = set()
    for package in {line.split(":")[0] for line in owners.splitlines()}:
        (needs,) = dpkg_fields(package, "Depends")
        needed = {re.split(r"[ :(]", need.strip())[0] for need in re.split(r"[,|]", needs)}
        if not needed & set(packages) and package not in NO_CODE:
            found.add(package)
    return found


def dpkg_fields(package, *names):
    form = "\\t".join("${%s}" % name for name in names)
    shown = output_of("dpkg-query", "--show", "--showformat", form + "\\n", package)
    return shown.splitlines()[0].split("\t")  # another line for another architecture


def copyright_file(package):
    return pathlib.Path("/usr/share/doc", package, "copyright")


def licence_names(package):
    """As the copyright file says; none if it is not a machine-readable one."""
    text = copyright_file(package).read_text(errors="replace")
    if not re.search(r"^Format(-Specification)?:", text, re.MULTILINE):
        return []
    found = re.findall(r"^License:[ \t]*(\S[^\n]*)$", text, re.MULTILINE)
    words = [word for line in found for word in re.split(r"\s+(?:and|or)\s+|,\s*", line.strip())]
    return sorted({word for word in words if word})


def licences(package):
    named = []
    for name in licence_names(package):
        spdx = SPDX_NAMES.get(name, name)
        named.append({"license": {"id": spdx} if spdx in SPDX_IDS else {"name": name}})
    return named or [{"license": {"name": f"see /usr/share/doc/{package}/copyright"}}]


def component(package, distribution, is_compiled_in):
    name, version, architecture, source, source_version, homepage = dpkg_fields(
        package, "Package", "Version", "Architecture", "source:Package", "source:Version",
        "Homepage")
    url = f"pkg:deb/debian/{name}@{version}?arch={architecture}&distro={distribution}"
    made = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url,
            "supplier": {"name": "Debian"}, "licenses": licences(package),
            "properties": [
                {"name": "debian:source", "value": f"{source} {source_version}"},
                {"name": "istmo:how", "value": "compiled in" if is_compiled_in else "package"}]}
    if homepage:
        made["externalReferences"] = [{"type": "website", "url": homepage}]
    return made


def bill(packages, options):
    release = dict(line.split("=", 1)
                   for line in pathlib.Path("/usr/lib/os-release").read_text().splitlines())
    distribution = "debian-" + release["VERSION_ID"].strip('"')
    digest = hashlib.sha256(pathlib.Path(options.binary).read_bytes()).hexdigest()
    parts = [component(package, distribution, package not in options.packages)
             for package in packages]
    own = {"type": "application", "bom-ref": "istmo", "name": "istmo",
           "version": options.version,
           "licenses": [{"license": {"id": "Apache-2.0"}}],
           "hashes": [{"alg": "SHA-256", "content": digest}]}
    made = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": {"component": own}, "components": parts,
            "dependencies": [{"ref": "istmo", "dependsOn": [part["bom-ref"] for part in parts]}]}
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))
    return {**made, "serialNumber": f"urn:uuid:{number}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--licences", required=True, type=pathlib.Path)
    parser.add_argument("packages", nargs="+")
    options = parser.parse_args()
    packages = sorted({*options.packages, *compiled_in(options.build, options.packages)})
    for package in packages:
        (options.licences / package).mkdir(parents=True)
        shutil.copyfile(copyright_file(package), options.licences / package / "copyright")
    print(json.dumps(bill(packages, options), indent=1))


if __name__ == "__main__":
    main()
