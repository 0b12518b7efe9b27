#!/usr/bin/env bash
# Checks that r1 pull and the huggingface_hub package share one cache: each finds and accepts what the other has downloaded. The hub is a
# small server on this machine. Without the package it says so and ends with 0.
#   scripts/hub_peer.sh [PROGRAM]      (default: build/r1)
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python=$(scripts/python_environment.sh hub huggingface_hub==2.4.0); then
  echo "hub_peer: SKIPPED: r1 pull was not compared with huggingface_hub" >&2
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" tests/ref/hub_peer.py "$(realpath "${1:-build/r1}")" "$PWD/models/r1-nano" "$work"
