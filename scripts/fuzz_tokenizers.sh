#!/usr/bin/env bash
# Compares `r1 tokenize` with the tokenizers package on random tokenizers and texts (tests/ref/fuzz_tokenizers.py), and on SentencePiece
# vocabularies with the packages sentencepiece and tokenizers (tests/ref/fuzz_sentencepiece.py), in a Python environment of its own, which
# it makes if the packages can be fetched. Without the packages it says so and ends with 0.
#   scripts/fuzz_tokenizers.sh [--strings N] [--seed S] [--r1 PROGRAM] [--every-character]
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0)
environment=build/venv-tokenizers
python=$environment/bin/python

has_packages() {
  [[ -x $python ]] && "$python" - "${packages[@]}" 2>/dev/null <<'P'
import importlib.metadata, sys
sys.exit(any(importlib.metadata.version(name) != version for name, version in (p.split("==") for p in sys.argv[1:])))
P
}

if ! has_packages; then
  mkdir -p build
  if ! python3 -m venv "$environment" >"$environment.log" 2>&1 ||
    ! timeout 300 "$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >>"$environment.log" 2>&1 ||
    ! has_packages; then
    echo "fuzz_tokenizers: SKIPPED: ${packages[*]} cannot be installed here (see $environment.log): r1's token ids were not compared with theirs" >&2
    exit 0
  fi
fi
"$python" tests/ref/fuzz_tokenizers.py "$@"
both=()
for argument in "$@"; do [[ $argument == --every-character ]] || both+=("$argument"); done
"$python" tests/ref/fuzz_sentencepiece.py "${both[@]}" ${R1_SMOLLM2_GGUF:+--smollm2 "$R1_SMOLLM2_GGUF"}
