#!/usr/bin/env bash
# r1 pull and the Python package huggingface_hub share one cache: each finds and accepts what the other has downloaded.
#
#   scripts/hub_peer.sh [R1]
#
# The package is installed into a virtual environment of its own. Without a network the check is left out, loudly. The hub is
# a small server on this machine.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
r1=${1:-$here/build/r1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q --disable-pip-version-check huggingface_hub; } >"$work/pip" 2>&1; then
  echo "SKIPPED: huggingface_hub cannot be installed here ($(tail -n 1 "$work/pip"))" >&2
  exit 0
fi
"$work/venv/bin/python" "$here/tests/ref/hub_peer.py" "$r1" "$here/models/r1-nano" "$work"
