#!/usr/bin/env bash
# Validates what `r1 generate` writes under JSON Schemas with the jsonschema package (tests/ref/check_schemas.py), in a Python
# environment of its own, which it makes if the package can be fetched. Without the package it says so and ends with 0.
#   scripts/check_schemas.sh [--schemas FILE.jsonl | --suite FOLDER] [--samples N] [--r1 PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.23.0
environment=build/venv-jsonschema
python=$environment/bin/python

has_package() { [[ -x $python ]] && "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('jsonschema') != '$version')" 2>/dev/null; }

if ! has_package; then
  mkdir -p build
  if ! python3 -m venv "$environment" >"$environment.log" 2>&1 ||
    ! timeout 300 "$python" -m pip install --quiet --disable-pip-version-check "jsonschema==$version" >>"$environment.log" 2>&1 ||
    ! has_package; then
    echo "check_schemas: SKIPPED: jsonschema $version cannot be installed here (see $environment.log): what r1 writes was not validated" >&2
    exit 0
  fi
fi
exec "$python" tests/ref/check_schemas.py "$@"
