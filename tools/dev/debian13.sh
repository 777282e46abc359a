# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# A Debian 13 root, for what has to be built on that. Kept outside of the checkout for the next
# time. Sourced by ./dev.

debian13_root=${XDG_CACHE_HOME:-$HOME/.cache}/istmo/debian13

# The folder of this checkout in the root, as a path in there: checkouts do not mix their builds.
debian13_out() {
  local name
  name=$(printf '%s' "$top" | sha256sum)
  printf '/out/%s' "${name:0:12}"
}

make_debian13_root() {
  local mirror=$1 root=$debian13_root
  [[ ! -f $root/.complete ]] || return 0
  as_root rm -rf "$root"
  mkdir -p "$(dirname "$root")"
  as_root debootstrap --variant=minbase trixie "$root" "$mirror" || return 1
  # How this machine reaches its mirror holds for the root as well.
  apt-config dump | grep '^Acquire::' | as_root tee "$root/etc/apt/apt.conf.d/90host" >/dev/null
  as_root mkdir -p "$root/checkout" "$root/out"
  as_root touch "$root/.complete"
}

# in_debian13 COMMAND...: with the checkout read-only at /checkout.
in_debian13() {
  as_root unshare -m "$top/tools/dev/in-root" "$debian13_root" "$top" "$(debian13_out)" "$@"
}
