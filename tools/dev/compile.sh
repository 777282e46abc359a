# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# Meson build folders. Sourced by ./dev.

# configure_build DIR OPTIONS...: sets the folder up, again when the options are not those of the
# last time.
configure_build() {
  local dir=$1 stamp=$1/.dev-options options
  shift
  options="$* CXX=${CXX:-}"
  if [[ -f $dir/build.ninja && -f $stamp && $(<"$stamp") == "$options" ]]; then return 0; fi
  rm -rf "$dir"
  step "configure ${dir##*/}" meson setup "$dir" "$top" "$@" || return 1
  printf '%s\n' "$options" >"$stamp"
}

# compile DIR TARGETS...
compile() {
  local dir=$1 began=$SECONDS
  say "compile ${dir##*/} ..."
  if ! NINJA_STATUS='[%f/%t] ' ninja -C "$@" -j "$jobs" | show_progress; then
    say "compile ${dir##*/}: FAILED"
    return 1
  fi
  say "compile ${dir##*/}: done in $((SECONDS - began)) s"
}

# The binary that users get. Chained, because errexit is off where a caller looks at the result: an
# old binary must not stand in for one that does not compile.
build_release() {
  want_packages build &&
    configure_build "$build" -Dbuildtype=release &&
    compile "$build" src/istmo &&
    ln -sfn src/istmo "$build/istmo"
}

test_targets() { "$python" "$top/tools/dev/run_tests.py" targets "$@"; }

# compile_tests DIR PREFIX...: the programs of the tests whose names begin so.
compile_tests() {
  local targets=()
  # What Meson tells of the folder is as old as its last configuration.
  step "refresh ${1##*/}" ninja -C "$1" build.ninja || return 1
  mapfile -t targets < <(test_targets "$@")
  [[ ${#targets[@]} -gt 0 ]] || return 0  # running no test is what fails then
  compile "$1" "${targets[@]}"
}
