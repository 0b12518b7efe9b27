#!/usr/bin/env bash
# Runs real clients against `r1 serve`: the openai package (tests/clients/openai_client.py) with r1-nano and, if $R1_SMOLLM2_GGUF names
# its file, with SmolLM2; with --long also the anthropic package. A package that cannot be installed here is skipped, which is said.
#   scripts/server_clients.sh [--long] [PROGRAM]      (default: build/r1)
set -euo pipefail
cd "$(dirname "$0")/.."
long=no
[[ ${1:-} == --long ]] && long=yes && shift
program=${1:-build/r1}

if python=$(scripts/python_environment.sh openai openai==3.57.0); then
  "$python" tests/clients/openai_client.py "$program" models/r1-nano
  "$python" tests/clients/fifty_calls.py "$program" models/r1-nano
  if [[ -n ${R1_SMOLLM2_GGUF:-} ]]; then
    "$python" tests/clients/openai_client.py "$program" "$R1_SMOLLM2_GGUF"
  else
    echo "server_clients: SKIPPED: R1_SMOLLM2_GGUF is not set, so the openai package was not tried with SmolLM2" >&2
  fi
else
  echo "server_clients: SKIPPED: r1 serve was not tried with the openai package" >&2
fi
[[ $long == yes ]] || exit 0
if python=$(scripts/python_environment.sh anthropic anthropic==2.14.0); then
  "$python" tests/clients/anthropic_client.py "$program" models/r1-nano
else
  echo "server_clients: SKIPPED: r1 serve was not tried with the anthropic package" >&2
fi
