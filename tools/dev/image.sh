# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# ./dev image, and the group of ./dev test that starts what it made. Sourced by ./dev.

image_version=$(sed -n "s/^ *version: '\([^']*\)',$/\1/p" "$top/meson.build" | head -n 1)
image_folder=$build_root/build/image
image_archive=$image_folder/istmo-$image_version.tar

make_image() {
  local mirror
  mirror=$(debian_mirror "$(debian_codename)")
  [[ -n $mirror ]] || fail "no package source of this machine serves Debian"
  step "Debian 13 root" make_debian13_root "$mirror" &&
    say "release build in the Debian 13 root ..." &&
    in_debian13 ./dev build &&
    step "root file system of the image" assemble_image &&
    step "image" pack_image
}

image_context() { printf '%s/image' "$(debian13_out)"; }  # a path in the root

assemble_image() {
  local out
  out=$(debian13_out)
  in_debian13 container/assemble "$out/build/istmo" "$(image_context)/image" "$image_version"
}

# The last stage of the Containerfile, with the root file system in the place of the first. No
# registry is asked, nothing is run, and the store ends with it. The time of all files is 0, so that
# the same packages and binary give the same image.
pack_image() {
  local work code=0
  work=$(mktemp -d)
  mkdir -p "$image_folder"
  {
    in_store "$work" bud --isolation chroot --layers=false --timestamp 0 --format oci \
      --build-arg "ISTMO_VERSION=$image_version" -t istmo -f "$top/container/Containerfile" \
      --build-context "build=$debian13_root$(image_context)" "$work" &&
      in_store "$work" push istmo "oci:$work/layout" &&
      "$python" "$top/container/archive.py" "$work/layout" istmo "$image_version" \
        "$image_archive.new" &&
      cp "$debian13_root$(image_context)/image/usr/share/sbom/istmo.cdx.json" \
        "$image_folder/istmo-$image_version.cdx.json" &&
      mv "$image_archive.new" "$image_archive"
  } || code=$?
  as_root rm -rf "$work"
  return "$code"
}

in_store() {
  local work=$1
  shift
  as_root buildah --storage-driver vfs --root "$work/graph" --runroot "$work/run" "$@"
}

image_group() {
  if ! (make_image); then
    record 9-image failed "the image could not be made"
    return
  fi
  say "tests of the image ..."
  env ISTMO_IMAGE_ARCHIVE="$image_archive" "$python" "$top/tools/dev/run_tests.py" pytest \
    --results "$results/9-image.json" "$top/tests/image"
}
