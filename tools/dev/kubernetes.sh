# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# The group of ./dev test that runs against a real Kubernetes API server, and the programs of its
# cluster. Those are built once from the module in tests/kubernetes/tools and kept outside of the
# checkout, by version. Sourced by ./dev.

kube_module=$top/tests/kubernetes/tools
kube_cache=${XDG_CACHE_HOME:-$HOME/.cache}/istmo/kube
kube_log=$build_root/build-kube/tools.log  # not below build, which a new configuration deletes
kube_builder=''  # pid of the build in the background, and of its process group
kube_cannot=77   # its exit code for what this machine cannot do
kube_gos=(go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go)

kube_version() {
  sed -n 's|^.*k8s\.io/kubernetes \(v[0-9.]*\)\b.*|\1|p' "$kube_module/go.mod"
}

# Where the programs of this checkout's version are or will be.
kube_folder() {
  local hash
  hash=$(cat "$kube_module"/go.{mod,sum} | sha256sum)
  printf '%s' "$kube_cache/$(kube_version)-${hash:0:12}"
}

has_kube_tools() { [[ -f $(kube_folder)/.complete ]]; }

# The newest Go of this machine. From 1.21 on a Go fetches the one that a go.mod asks for itself.
find_go() {
  local candidate version best='' best_minor=20
  for candidate in "${kube_gos[@]}"; do
    version=$(cd / && GOTOOLCHAIN=local "$candidate" env GOVERSION 2>/dev/null) || continue
    if [[ $version =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -gt $best_minor ]]; then
      best=$candidate best_minor=${BASH_REMATCH[1]}
    fi
  done
  printf '%s' "$best"
}

# Debian 12 has an etcd that is too old: the next release's is unpacked, not installed.
unpack_etcd() {
  local bin=$1 scratch code=0
  if [[ -z ${ISTMO_NO_PACKAGES:-} && $(debian_codename) == bookworm ]]; then
    (add_next_release) || return 1
  fi
  scratch=$(mktemp -d)
  (
    cd "$scratch"
    apt-get download etcd-server/trixie ||
      { as_root apt-get update -q && apt-get download etcd-server/trixie; } || exit 1
    dpkg -x etcd-server_*.deb . && install -D -m 755 usr/bin/etcd "$bin/etcd"
  ) || code=1
  rm -rf "$scratch"
  return "$code"
}

# build_kube_tools FOLDER: in a subshell. The compiler's garbage is collected late, which costs no
# more memory than 2 GiB. What was fetched and compiled (4 GB) is deleted when it has served.
build_kube_tools() {
  local folder=$1 go total work=$kube_cache/go
  mkdir -p "$kube_cache" && exec 9>"$kube_cache/lock" && flock 9 || return 1
  [[ ! -f $folder/.complete ]] || return 0  # another checkout was first
  go=$(find_go)
  [[ -n $go ]] || { echo "there is no Go, or it is older than 1.21"; return "$kube_cannot"; }
  cd "$kube_module" || return 1
  export GOTOOLCHAIN=auto GOWORK=off CGO_ENABLED=0
  export GOFLAGS='-mod=readonly -modcacherw -trimpath -tags=grpcnotrace'
  export GOMODCACHE=$work/modules GOCACHE=$work/build GOGC=400
  if ! "$go" version; then
    echo "$(GOTOOLCHAIN=local "$go" version 2>&1 | tail -n 1): older than go.mod asks for, and" \
      "that one could not be fetched"
    return "$kube_cannot"
  fi
  total=$("$go" list -deps tool | wc -l) || return 1
  "$go" build -v -o "$folder/bin/" -ldflags \
    "-s -w -X k8s.io/component-base/version.gitVersion=$(kube_version)" tool 2>&1 |
    number_packages "$total" || return 1
  touch "$folder/.complete"
  rm -rf "$work"
}

# Makes progress lines of the names of packages that `go build -v` prints.
number_packages() {
  local line number=0
  while IFS= read -r line; do
    if [[ $line =~ ^[^\ :]+/[^\ :]+$ || $line =~ ^[a-z0-9]+$ ]]; then
      line="[$((++number))/$1] $line"
    fi
    printf '%s\n' "$line"
  done
}

# Begins to build what is missing with what no other program wants of the processors, so that the
# rest of ./dev test can go on meanwhile.
begin_kube_tools() {
  local folder
  folder=$(kube_folder)
  ! has_kube_tools || return 0
  (want_packages kubernetes) || true  # what is missing now is missed below
  if [[ ! -x $folder/bin/etcd ]]; then
    step "etcd for the Kubernetes tests" unpack_etcd "$folder/bin" || return 0
  fi
  say "the tools of the Kubernetes tests are built in the background"
  mkdir -p "$(dirname "$kube_log")"
  set -m  # a process group of its own
  (
    chrt --idle --pid 0 "$BASHPID" || true
    build_kube_tools "$folder"
  ) >"$kube_log" 2>&1 </dev/null &
  kube_builder=$!
  set +m
  trap end_kube_tools EXIT
}

end_kube_tools() {
  [[ -z $kube_builder ]] || kill -- "-$kube_builder" 2>/dev/null || true
}

# Shows how the build goes on until it has ended; its exit code. It competes as others do from now
# on, where that is allowed.
wait_for_kube_tools() {
  local code=0 pid
  [[ -n $kube_builder ]] || { has_kube_tools; return; }
  for pid in $(pgrep -g "$kube_builder"); do
    chrt --all-tasks --other --pid 0 "$pid" 2>/dev/null || true
  done
  tail -n +1 -f --pid="$kube_builder" "$kube_log" |
    grep --line-buffered -v '^go: downloading ' | show_progress
  wait "$kube_builder" || code=$?
  kube_builder=''
  return "$code"
}

bench_kubernetes() {
  want_packages build kubernetes
  begin_kube_tools
  wait_for_kube_tools || { say "the programs of a cluster could not be built"; exit 1; }
  build_release
  exec env ISTMO="$build/istmo" ISTMO_KUBE_TOOLS="$(kube_folder)/bin" "$python" \
    "$top/perf/kubernetes" "$@"
}

kubernetes_group() {
  local bin code=0 processes=1
  bin=$(kube_folder)/bin
  say "tools of the Kubernetes tests ..."
  wait_for_kube_tools || code=$?
  if [[ $code -eq $kube_cannot ]]; then
    record 4-kubernetes skipped "$(tail -n 1 "$kube_log")"
  elif [[ ! -x $bin/etcd ]]; then
    record 4-kubernetes skipped "no etcd 3.5 or later could be fetched"
  elif [[ $code -ne 0 ]]; then
    record 4-kubernetes failed "its tools could not be built"
  elif ! (build_release); then
    record 4-kubernetes failed "no release binary"
  else
    say "Kubernetes tests ..."
    # They wait more than they work. Each process needs a network of its own, and root for that.
    [[ $EUID -ne 0 ]] || ! "$python" -c 'import xdist' 2>/dev/null || processes=3
    env ISTMO="$build/istmo" ISTMO_KUBE_TOOLS="$bin" "$python" "$top/tools/dev/run_tests.py" \
      pytest --results "$results/4-kubernetes.json" --processes "$processes" \
      "$top/tests/kubernetes"
  fi
}
