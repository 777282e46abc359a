# shellcheck shell=bash disable=SC2154  # the variables come from ./dev
# How ./dev talks: one line per step, with the time since the start. Sourced by ./dev.

started_s=$SECONDS

say() {
  local elapsed=$((SECONDS - started_s))
  printf '[%3d:%02d] %s\n' $((elapsed / 60)) $((elapsed % 60)) "$*"
}

usage_error() {
  printf 'dev: %s\nTry: ./dev help\n' "$*" >&2
  exit 2
}

fail() {
  printf 'dev: %s\n' "$*" >&2
  exit 1
}

# step NAME COMMAND...: runs the command, shows its output only when it fails.
step() {
  local name=$1 began=$SECONDS log code=0
  shift
  log=$(mktemp)
  say "$name ..."
  "$@" >"$log" 2>&1 || code=$?
  if [[ $code -eq 0 ]]; then
    [[ $((SECONDS - began)) -lt 2 ]] || say "$name: done in $((SECONDS - began)) s"
  else
    tail -n 200 "$log"
    say "$name: FAILED (exit $code)"
  fi
  rm -f "$log"
  return "$code"
}

# Reads a builder's output: everything that is not a progress line, and a progress line every 15 s.
show_progress() {
  local line last_shown=$SECONDS
  while IFS= read -r line; do
    if [[ $line == '['*/*']'* ]]; then
      ((SECONDS - last_shown >= 15)) || continue
      last_shown=$SECONDS
      say "  ${line%%]*}]"
    elif [[ $line != ninja:\ * || $line == *error* || $line == *fail* ]]; then
      printf '%s\n' "$line"
    fi
  done
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    fail "root rights are needed for: $* (run ./dev as root, or install sudo)"
  fi
}
