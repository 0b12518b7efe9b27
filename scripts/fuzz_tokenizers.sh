#!/usr/bin/env bash
# Compares `r1 tokenize` with the tokenizers package on random tokenizers and texts (tests/ref/fuzz_tokenizers.py), in a
# Python environment of its own, which it makes if the package can be fetched. Without the package it says so and ends with 0.
#   scripts/fuzz_tokenizers.sh [--strings N] [--seed S] [--every-character] [--r1 PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.23.3
environment=build/venv-tokenizers
python=$environment/bin/python

has_package() { [[ -x $python ]] && "$python" -c "import tokenizers, sys; sys.exit(tokenizers.__version__ != '$version')" 2>/dev/null; }

if ! has_package; then
  mkdir -p build
  if ! python3 -m venv "$environment" >"$environment.log" 2>&1 ||
    ! timeout 300 "$python" -m pip install --quiet --disable-pip-version-check "tokenizers==$version" >>"$environment.log" 2>&1 ||
    ! has_package; then
    echo "fuzz_tokenizers: SKIPPED: tokenizers $version cannot be installed here (see $environment.log): r1's token ids were not compared with it" >&2
    exit 0
  fi
fi
exec "$python" tests/ref/fuzz_tokenizers.py "$@"
