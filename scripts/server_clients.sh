#!/usr/bin/env bash
# Runs real clients against `r1 serve`: the openai package (tests/clients/openai_client.py) with r1-nano and, if $R1_SMOLLM2_GGUF names
# its file, with SmolLM2; with --long also the anthropic package, lm-eval, and schemathesis with OpenAI's description of its API. What
# cannot be installed here is skipped, which is said.
#   scripts/server_clients.sh [--long] [PROGRAM]      (default: build/r1)
set -euo pipefail
cd "$(dirname "$0")/.."
long=no
[[ ${1:-} == --long ]] && long=yes && shift
program=${1:-build/r1}

skip() { echo "server_clients: SKIPPED: $1" >&2; }

if python=$(scripts/python_environment.sh openai openai==3.57.0); then
  "$python" tests/clients/openai_client.py "$program" models/r1-nano
  "$python" tests/clients/fifty_calls.py "$program" models/r1-nano
  if [[ -n ${R1_SMOLLM2_GGUF:-} ]]; then
    "$python" tests/clients/openai_client.py "$program" "$R1_SMOLLM2_GGUF"
  else
    skip "R1_SMOLLM2_GGUF is not set, so the openai package was not tried with SmolLM2"
  fi
else
  skip "r1 serve was not tried with the openai package"
fi
[[ $long == yes ]] || exit 0
if python=$(scripts/python_environment.sh anthropic anthropic==2.14.0); then
  "$python" tests/clients/anthropic_client.py "$program" models/r1-nano
else
  skip "r1 serve was not tried with the anthropic package"
fi
if python=$(scripts/python_environment.sh lm-eval lm_eval==0.4.13 transformers==5.24.0 tenacity==9.2.1 aiohttp==3.14.5); then
  "$python" tests/clients/lm_eval_client.py "$program" models/r1-nano
else
  skip "r1 serve was not tried with lm-eval"
fi
description=${R1_TEST_DATA:-../shared/data}/structured/openai_openapi.json
if [[ ! -f $description ]]; then
  skip "R1_TEST_DATA has no structured/openai_openapi.json, so r1 serve was not tried with schemathesis"
elif python=$(scripts/python_environment.sh schemathesis schemathesis==4.32.5); then
  "$python" tests/clients/schemathesis_client.py "$program" models/r1-nano "$description"
else
  skip "r1 serve was not tried with schemathesis"
fi
