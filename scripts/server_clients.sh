#!/usr/bin/env bash
# Runs the openai package against `r1 serve` (tests/clients/openai_client.py), in a Python environment of its own, which it makes if the
# package can be fetched. Without the package it says so and ends with 0.
#   scripts/server_clients.sh [PROGRAM]      (default: build/r1)
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-build/r1}
environment=build/venv-openai
python=$environment/bin/python

has_package() { [[ -x $python ]] && "$python" -c "import openai" 2>/dev/null; }

if ! has_package; then
  mkdir -p build
  if ! python3 -m venv "$environment" >"$environment.log" 2>&1 ||
    ! timeout 300 "$python" -m pip install --quiet --disable-pip-version-check "openai>=1.60" >>"$environment.log" 2>&1 ||
    ! has_package; then
    echo "server_clients: SKIPPED: the openai package cannot be installed here (see $environment.log): r1 serve was not tried with it" >&2
    exit 0
  fi
fi
exec "$python" tests/clients/openai_client.py "$program" models/r1-nano
