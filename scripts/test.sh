#!/usr/bin/env bash
# All checks: style, types, layers, tests. Arguments go to pytest: scripts/test.sh tests/cells -k peephole
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev

stage() {
  headline "$1"
  shift
  "$@" || fail "$*"
}

stage "style" ruff check .
stage "format" ruff format --check .
stage "types" mypy
stage "layers" lint-imports

site="$(mktemp -d)"
trap 'rm -rf "$site"' EXIT
export NO_MKDOCS_2_WARNING=1
stage "documentation" mkdocs build --strict --quiet --site-dir "$site"

if [ $# -eq 0 ]; then
  # Two processes share the tests, each with one thread: more threads than cores only wait for each other.
  # A file's tests stay together, so that what they share (a wheel, a trained run) is made once.
  export OMP_NUM_THREADS=1
  stage "tests" pytest -n 2 --dist loadfile
else
  stage "tests" pytest "$@"
fi
headline "all checks passed"
