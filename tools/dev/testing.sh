# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# The groups of ./dev test. Each group leaves its result in $results/NN-name.json; the count at
# the end is over those files. Sourced by ./dev.

clang="ccache clang++-19"  # Meson finds ccache by itself for the default compiler only
# Kubernetes comes last: what its tests need is built while the others run.
usual_groups=(unit integration asan kubernetes)
all_groups=("${usual_groups[@]}" clang tsan debian13 image fuzz)

verb_test() {
  local groups=("${usual_groups[@]}") only=() group arguments=("$@") code=0
  while [[ $# -gt 0 ]]; do
    case $1 in
      --all) groups=("${all_groups[@]}"); export ISTMO_TEST_LONG=1; shift ;;
      --only)
        [[ " ${all_groups[*]} " == *" ${2:-none} "* ]] ||
          usage_error "--only needs one of: ${all_groups[*]}"
        only+=("$2")
        shift 2
        ;;
      *) usage_error "test does not know $1" ;;
    esac
  done
  [[ ${#only[@]} -eq 0 ]] || groups=("${only[@]}")
  if [[ -z ${ISTMO_TEST_LOCKED:-} ]]; then
    mkdir -p "$build_root"
    # Two runs in one checkout would delete each other's builds. -o: no process that a test leaves
    # behind keeps the lock.
    ISTMO_TEST_LOCKED=1 flock -n -o -E 75 "$build_root" "$top/dev" test "${arguments[@]}" || code=$?
    [[ $code -ne 75 ]] || fail "another ./dev test runs in this checkout"
    return "$code"
  fi
  rm -rf "$results"
  [[ " ${groups[*]} " != *' kubernetes '* ]] || begin_kube_tools
  for group in "${groups[@]}"; do
    if ! (want_packages_of_group "$group"); then
      record "0-$group" skipped "its packages could not be installed"
    else
      "${group}_group" || record "9-$group" failed "the group ended early"
    fi
  done
  summarise
}

# As root on Debian 12 every program can be installed and every test can run, so what was skipped
# there is something that nobody would see break.
summarise() {
  local options=()
  [[ $EUID -ne 0 || $(debian_codename) != bookworm ]] || options+=(--no-skips)
  "$python" "$top/tools/dev/run_tests.py" summary "${options[@]}" "$results"
}

want_packages_of_group() {
  case $1 in
    # Each test looks for the programs that it needs itself.
    integration) (want_packages build test) || "$python" -c 'import pytest' ;;
    kubernetes) (want_packages build kubernetes) || "$python" -c 'import pytest' ;;
    asan | clang | tsan | fuzz) want_packages build clang ;;
    debian13) want_packages debian13 ;;
    image) want_packages image && "$python" -c 'import pytest' ;;
    *) want_packages build ;;
  esac
}

run_tests() {
  local name=$1
  shift
  "$python" "$top/tools/dev/run_tests.py" run --results "$results/$name.json" --jobs "$jobs" "$@"
}

# A group that could not be built or started: one failure, or one skip, with its reason.
record() {
  "$python" "$top/tools/dev/run_tests.py" record --results "$results/$1.json" "$2" "$3"
}

unit_group() {
  if configure_build "$build" -Dbuildtype=release && compile "$build"; then
    ln -sfn src/istmo "$build/istmo"
    say "tests of the release build ..."
    run_tests 1-release "$build"
  else
    record 1-release failed "the release build does not compile"
  fi
}

integration_group() {
  say "integration tests ..."
  if ! (build_release) || ! compile "$build" tests/integration/relay/tap-relay; then
    record 2-integration failed "no release binary, or not what its tests need"
    return
  fi
  env ISTMO="$build/istmo" "$python" "$top/tools/dev/run_tests.py" pytest \
    --results "$results/2-integration.json" "$top/tests/integration"
}

# variant_group NAME DIR PREFIXES -- MESON OPTIONS: another build, of the programs of some tests.
variant_group() {
  local name=$1 dir=$2 prefixes=()
  shift 2
  while [[ $1 != -- ]]; do
    prefixes+=("$1")
    shift
  done
  shift
  if configure_build "$dir" "$@" && compile_tests "$dir" "${prefixes[@]}"; then
    say "tests of ${dir##*/} ..."
    run_tests "$name" --timeout-factor 5 "$dir" "${prefixes[@]}"
  else
    record "$name" failed "${dir##*/} does not compile"
  fi
}

# With the inputs of the fuzz targets, so that what fuzzing found once stays found. clang compiles
# this variant in half of GCC's time.
asan_group() {
  CXX=$clang variant_group 3-asan-ubsan "$build_root/build-asan" unit sim fuzz- -- \
    -Dbuildtype=debugoptimized -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false
}

# All of it is compiled: main.cc and the command line are in no test.
clang_group() {
  local dir=$build_root/build-clang
  if ! CXX=$clang configure_build "$dir" -Dbuildtype=release || ! compile "$dir"; then
    record 5-clang failed "build-clang does not compile"
    return
  fi
  CXX=$clang variant_group 5-clang "$dir" unit sim fuzz- -- -Dbuildtype=release
}

# clang's runtime starts itself again without address randomisation where the kernel's is too
# wide for its shadow; GCC 12's does not.
tsan_group() {
  CXX=$clang variant_group 6-tsan "$build_root/build-tsan" unit sim -- \
    -Dbuildtype=debugoptimized -Doptimization=1 -Db_sanitize=thread -Db_lundef=false
}

# The release build and its tests in a Debian 13 root, which is kept for the next time. The
# checkout is mounted there read-only.
debian13_group() {
  local mirror result
  mirror=$(debian_mirror "$(debian_codename)")
  if [[ -z $mirror ]]; then
    record 7-debian13 skipped "no package source of this machine serves Debian"
    return
  fi
  if ! step "Debian 13 root" make_debian13_root "$mirror"; then
    record 7-debian13 failed "the Debian 13 root could not be made"
    return
  fi
  say "build and tests in the Debian 13 root ..."
  result=$debian13_root$(debian13_out)/build/test-results
  as_root rm -rf "$result"
  in_debian13 ./dev test --only unit || true
  if [[ -f $result/1-release.json ]]; then
    mkdir -p "$results"
    cp "$result/1-release.json" "$results/7-debian13.json"
  else
    record 7-debian13 failed "no result came out of the Debian 13 root"
  fi
}

# What a run finds is kept outside of the checkout, and the next one begins with it.
fuzz_group() {
  local dir=$build_root/build-fuzz seconds=${ISTMO_FUZZ_SECONDS:-600}
  local grown=${XDG_CACHE_HOME:-$HOME/.cache}/istmo/fuzz
  if CXX=$clang configure_build "$dir" -Dbuildtype=debugoptimized -Doptimization=1 \
    -Dfuzzers=true -Db_sanitize=address,undefined -Db_lundef=false \
    -Dcpp_args=-fsanitize=fuzzer-no-link && compile_tests "$dir" fuzz-; then
    say "fuzzing, $seconds s per target ..."
    "$python" "$top/tools/dev/run_tests.py" fuzz --results "$results/8-fuzz.json" \
      --jobs "$jobs" --seconds "$seconds" --grown "$grown" "$dir" "$top/tests/fuzz/corpus"
  else
    record 8-fuzz failed "build-fuzz does not compile"
  fi
}
