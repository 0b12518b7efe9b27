#!/usr/bin/env bash
# Prints the Python of an environment that has the given packages. The environment is build/venv-NAME; it is made if the packages can be
# fetched, and used again as long as it has the same versions. What is wrong is said on standard error.
#   scripts/python_environment.sh NAME PACKAGE==VERSION...      exit status 77: the packages cannot be installed here
set -euo pipefail
cd "$(dirname "$0")/.."
(($# >= 2)) || { echo "usage: scripts/python_environment.sh NAME PACKAGE==VERSION..." >&2; exit 2; }
environment=$PWD/build/venv-$1
shift
python=$environment/bin/python

has_packages() {
  [[ -x $python ]] && "$python" - "$@" 2>/dev/null <<'P'
import importlib.metadata, sys
sys.exit(any(importlib.metadata.version(name) != version for name, version in (p.split("==") for p in sys.argv[1:])))
P
}

if ! has_packages "$@"; then
  mkdir -p build
  if ! python3 -m venv "$environment" >"$environment.log" 2>&1 ||
    ! timeout 300 "$python" -m pip install --quiet --disable-pip-version-check "$@" >>"$environment.log" 2>&1 ||
    ! has_packages "$@"; then
    echo "$* cannot be installed here: $(tail -n 1 "$environment.log")" >&2
    exit 77
  fi
fi
echo "$python"
