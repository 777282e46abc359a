# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# Which Debian packages each verb needs, and how they are installed. Sourced by ./dev.
#
# Debian 12 has no llhttp, too old a liburing, and kernel headers that liburing.h does not compile
# with. They come from the next release and from backports, pinned at 100: apt takes from there only
# what is asked for by name, and upgrades nothing else. The mirror is the machine's own.

apt_sources=/etc/apt/sources.list.d/istmo-next.sources
apt_pins=/etc/apt/preferences.d/istmo-next

debian_codename() {
  (
    # shellcheck source=/dev/null
    source /etc/os-release 2>/dev/null || true
    [[ ${ID:-} == debian ]] && printf '%s' "${VERSION_CODENAME:-}"
  ) || true
}

# packages_of GROUP CODENAME: one package a line, as apt-get install takes it.
packages_of() {
  local group=$1 codename=$2
  case $group in
    build)
      if [[ $codename == bookworm ]]; then
        # Boost 1.74, which libboost-test-dev would bring, is too old for C++23.
        echo liburing2/trixie liburing-dev/trixie linux-libc-dev/bookworm-backports \
          libllhttp9.2/trixie libllhttp-dev/trixie libboost-test1.81-dev
      else
        echo liburing-dev libllhttp-dev libboost-test-dev
      fi
      echo g++ meson ninja-build pkgconf ccache ca-certificates libssl-dev libjemalloc-dev \
        libyaml-cpp-dev libfmt-dev libcli11-dev nlohmann-json3-dev libc-ares-dev zlib1g-dev \
        python3
      [[ $(dpkg --print-architecture) != amd64 ]] || echo libipsec-mb-dev
      ;;
    demo) echo curl procps python3 ;;
    test)
      echo nginx-light libnginx-mod-stream haproxy redis-server redis-tools postgresql \
        postgresql-contrib iperf3 curl tshark python3-qpid-proton python3-pytest python3-yaml \
        iproute2 nftables wrk nghttp2-client openssl procps socat zsh fish
      ;;
    bench) echo nginx-light libnginx-mod-stream haproxy wrk curl iperf3 openssl procps python3 ;;
    lint) echo clang-format-19 shellcheck python3 python3-pyflakes ;;
    kubernetes)
      echo openssl procps python3 python3-pytest python3-pytest-xdist python3-yaml util-linux \
        iproute2 nftables curl postgresql postgresql-contrib
      # Debian 12's own Go does not know how to fetch the one that a go.mod asks for.
      if ! has_kube_tools && [[ -z $(find_go) ]]; then
        [[ $codename == bookworm ]] && echo golang-1.23-go/bookworm-backports || echo golang-go
      fi
      ;;
    clang) echo clang-19 lld-19 libclang-rt-19-dev llvm-19 ;;
    debian13) echo debootstrap util-linux ;;
    # Where cgroups are of both versions, runc starts containers and crun does not.
    image) echo debootstrap util-linux buildah podman runc python3 python3-pytest ;;
    *) fail "no package group $group" ;;
  esac | tr -s ' ' '\n'
}

# Of the packages on stdin, those that are missing or (on Debian 12) older than we need.
missing_packages() {
  local wanted=() spec name state version least
  local -A installed=()
  mapfile -t wanted
  while read -r name state version; do
    [[ $state == ii* ]] && installed[$name]=$version
  done < <(dpkg-query -W -f '${Package} ${db:Status-Abbrev} ${Version}\n' "${wanted[@]%%/*}" \
    2>/dev/null || true)
  for spec in "${wanted[@]}"; do
    name=${spec%%/*}
    version=${installed[$name]:-}
    case $spec in
      liburing*/*) least=2.9 ;;
      libllhttp*/*) least=9.2 ;;
      linux-libc-dev/*) least=6.12 ;;
      *) least=0 ;;
    esac
    if [[ -z $version ]] || dpkg --compare-versions "$version" lt "$least"; then
      printf '%s\n' "$spec"
    fi
  done
}

# want_packages GROUP...: installs what is missing of these groups.
want_packages() {
  [[ -z ${ISTMO_NO_PACKAGES:-} ]] || return 0
  local codename group missing=()
  codename=$(debian_codename)
  case $codename in
    bookworm | trixie) ;;
    *)
      say "note: ./dev installs packages on Debian 12 and 13 only; going on with what is here"
      return 0
      ;;
  esac
  mapfile -t missing < <(for group in "$@"; do packages_of "$group" "$codename"; done |
    sort -u | missing_packages)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "packages to install: ${missing[*]}"
  if [[ $codename == bookworm && " ${missing[*]}" == *' '*/* ]]; then add_next_release; fi
  step "apt-get install (${#missing[@]} packages and what they need)" \
    install_packages "${missing[@]}" || fail "the packages could not be installed"
}

# The URI that serves Debian's own `bookworm main` on this machine. Third-party archives may use
# the same suite name; their Origin differs.
debian_mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)' \
    'Created-By: Packages' | awk -F'|' -v suite="$1" \
    '$1 == "Debian" && $2 == suite && $3 == "main" { sub("/$", "", $4); print $4; exit }'
}

# Writes a file as root if its content (stdin) differs. True if it was written.
write_if_changed() {
  local file=$1 content
  content=$(cat)
  [[ ! -f $file || $(<"$file") != "$content" ]] || return 1
  printf '%s\n' "$content" | as_root tee "$file" >/dev/null
  as_root chmod 644 "$file"
}

add_next_release() {
  local mirror
  mirror=$(debian_mirror bookworm)
  if [[ -z $mirror ]]; then
    step "apt-get update" as_root apt-get update -q || fail "apt-get update failed"
    mirror=$(debian_mirror bookworm)
  fi
  [[ -n $mirror ]] || fail "no package source of this machine serves Debian's bookworm main"
  # The pin goes first: without it the next release would be a candidate for every package.
  write_if_changed "$apt_pins" <<'PINS' || true
Package: *
Pin: release n=trixie
Pin-Priority: 100

Package: *
Pin: release n=bookworm-backports
Pin-Priority: 100
PINS
  if write_if_changed "$apt_sources" <<SOURCES || [[ -z $(debian_mirror trixie) ]]; then
Types: deb
URIs: $mirror
Suites: trixie bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    step "apt-get update (next release and backports, pinned)" as_root apt-get update -q ||
      fail "apt-get update failed"
  fi
}

# Nothing that a package brings is started, now or at the next boot.
install_packages() {
  local policy=/usr/sbin/policy-rc.d policy_is_ours='' code=0 spec
  if [[ ! -e $policy ]]; then
    policy_is_ours=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  apt_install "$@" || { as_root apt-get update -q && apt_install "$@"; } || code=$?
  [[ -z $policy_is_ours ]] || as_root rm -f "$policy"
  for spec in "$@"; do
    case $spec in
      nginx-light) disable_service nginx ;;
      haproxy | redis-server | postgresql) disable_service "$spec" ;;
    esac
  done
  return "$code"
}

disable_service() {
  [[ -d /run/systemd/system ]] || return 0
  as_root systemctl disable --quiet "$1" 2>/dev/null || true
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true RUNLEVEL=1 \
    apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 \
    -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
