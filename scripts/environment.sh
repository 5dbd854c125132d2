# The virtual environment of the other scripts: made if missing, brought up to date if stale. Sourced, not run.
#
#   prepare_environment dev     the package with its tools for development
#   prepare_environment         the package alone
#
# $VENV names another place than .venv; $PYTHON another interpreter than python3 (3.11 or later).

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export VENV="${VENV:-$PWD/.venv}"
export PIP_DISABLE_PIP_VERSION_CHECK=1
export PYTHONUNBUFFERED=1

headline() { printf '\n==> %s\n' "$*"; }

fail() {
  printf '\nFAILED: %s\n' "$*" >&2
  exit 1
}

# What decides whether an environment is up to date: what is installed, from where, and with which extra.
fingerprint() { "$VENV/bin/python" -c '
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.version, sys.argv[1:], str(pathlib.Path.cwd()))).encode())
for path in ("pyproject.toml", "constraints.txt", "scripts/environment.sh"):
    digest.update(pathlib.Path(path).read_bytes())
print(digest.hexdigest())' "$1"; }

is_current() { [ "$(cat "$VENV/.rnn_diag-${1:-base}" 2>/dev/null)" = "$(fingerprint "$1")" ]; }

make_environment() {
  [ -x "$VENV/bin/python" ] && return
  local python="${PYTHON:-python3}"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "rnn_diag needs Python 3.11 or later, '$python' is $("$python" --version 2>&1); name another one in PYTHON"
  "$python" -m venv "$VENV" || fail "could not make a virtual environment in $VENV"
}

prepare_environment() {
  local extra="${1:-}" package=.
  [ -n "$extra" ] && package=".[$extra]"
  make_environment
  # An environment for development also holds all that the package alone needs.
  if ! is_current "$extra" && ! is_current dev; then
    headline "install into $VENV"
    # torch first and by itself: constraints.txt says why. Without compiling every file (only the few that are imported
    # will be, then) it takes half the time.
    local install=("$VENV/bin/python" -m pip install --quiet --no-compile -c constraints.txt)
    "${install[@]}" torch || fail "installing torch"
    "${install[@]}" -e "$package" || fail "installing the package"
    fingerprint "$extra" >"$VENV/.rnn_diag-${extra:-base}"
  fi
  export PATH="$VENV/bin:$PATH"
}
