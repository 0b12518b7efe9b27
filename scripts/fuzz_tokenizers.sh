#!/usr/bin/env bash
# Compares `r1 tokenize` with the tokenizers package on random tokenizers and texts (tests/ref/fuzz_tokenizers.py), and on SentencePiece
# vocabularies with the packages sentencepiece and tokenizers (tests/ref/fuzz_sentencepiece.py). Without the packages it says so and ends
# with 0.
#   scripts/fuzz_tokenizers.sh [--strings N] [--seed S] [--r1 PROGRAM] [--every-character]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python=$(scripts/python_environment.sh tokenizers tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0); then
  echo "fuzz_tokenizers: SKIPPED: r1's token ids were not compared with those of the packages" >&2
  exit 0
fi
"$python" tests/ref/fuzz_tokenizers.py "$@"
both=()
for argument in "$@"; do [[ $argument == --every-character ]] || both+=("$argument"); done
"$python" tests/ref/fuzz_sentencepiece.py "${both[@]}" ${R1_SMOLLM2_GGUF:+--smollm2 "$R1_SMOLLM2_GGUF"}
