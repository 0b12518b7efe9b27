#!/usr/bin/env bash
# Validates what `r1 generate` writes under JSON Schemas with the jsonschema package (tests/ref/check_schemas.py). Without the package it
# says so and ends with 0.
#   scripts/check_schemas.sh [--schemas FILE.jsonl | --suite FOLDER] [--samples N] [--r1 PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python=$(scripts/python_environment.sh jsonschema jsonschema==4.23.0); then
  echo "check_schemas: SKIPPED: what r1 writes under schemas was not validated" >&2
  exit 0
fi
exec "$python" tests/ref/check_schemas.py "$@"
