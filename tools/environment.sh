#!/bin/sh
# Make .venv if it is not there, and install the given requirements into it.
# Debian keeps Python's venv module in a package of its own, so it may have to come first.
set -eu
PYTHON=${PYTHON:-python3}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "SGE-Viz needs Python 3.11 or newer; $("$PYTHON" --version) was found. Set PYTHON=..." >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

make_venv() {
  "$PYTHON" -m venv .venv 2>/dev/null && return
  rm -rf .venv
  as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv &&
    "$PYTHON" -m venv .venv && return
  rm -rf .venv
  # Without root: the virtualenv package does the same, from a folder of its own.
  "$PYTHON" -m pip install -q --target .venv/bootstrap virtualenv &&
    PYTHONPATH=.venv/bootstrap "$PYTHON" -m virtualenv -q .venv && return
  echo "No virtual environment could be made: install Debian's package python3-venv." >&2
  exit 1
}

[ -x .venv/bin/pip ] || make_venv
.venv/bin/pip install -q --disable-pip-version-check -r "$1"
