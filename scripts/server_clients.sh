#!/usr/bin/env bash
# Runs the openai package against `r1 serve` (tests/clients/openai_client.py). Without the package it says so and ends with 0.
#   scripts/server_clients.sh [PROGRAM]      (default: build/r1)
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python=$(scripts/python_environment.sh openai openai==3.57.0); then
  echo "server_clients: SKIPPED: r1 serve was not tried with the openai package" >&2
  exit 0
fi
exec "$python" tests/clients/openai_client.py "${1:-build/r1}" models/r1-nano
