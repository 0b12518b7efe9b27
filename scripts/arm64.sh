#!/usr/bin/env bash
# Whether 64-bit Arm computes the same bits: builds r1 for it with the cross compiler (NEON), runs it under an emulator, and compares
# the log-probs, gradients and samples of the shipped models with those of the native build/r1, in f32 and bf16, and the log-probs of
# their quantised weights. The kernels of quantised products are compared with their contract (tests/ops/quant_test.cc) on three processors:
# without dot products, with them (SDOT), and with i8mm (SMMLA). As root on Debian 12 (x86-64); takes a few minutes. Everything lies in
# build-arm64.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -x build/r1 ]] || { echo "scripts/arm64.sh: build/r1 is missing: ./run or ./test builds it" >&2; exit 2; }

. scripts/cross_arm64.sh
here=$arm_here
cmake -S . -B "$here/build" -G Ninja "${arm_options[@]}" -DCMAKE_BUILD_TYPE=Release -DR1_TESTS=ON -DR1_BENCH=OFF >/dev/null
cmake --build "$here/build" --target r1 ops_test

emulated() {
  qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="/usr/aarch64-linux-gnu/lib:$arm_libraries:$arm_root/lib/aarch64-linux-gnu" "$@"
}
arm() {
  emulated "$here/build/r1" "$@"
}

# A test fails if the processor does not run the kernel that is named here.
quantised_products() {
  emulated -cpu "$1" -E R1_TEST_QUANT_KERNEL="$2" "$here/build/ops_test" --gtest_filter='Quant.*' --gtest_brief=1
  echo "quantised products on $1 ($2): equal to the contract to the bit"
}
quantised_products cortex-a72 portable
quantised_products neoverse-n1 "NEON dot"
quantised_products max "NEON i8mm"

# Sixty tokens each: the emulator is slow.
python3 - >"$here/rows.jsonl" <<'X'
import json
for row in range(4):
    print(json.dumps({"tokens": [(7 * i * i + 13 * row + i) % 380 for i in range(60)], "from": 1 + 5 * row}))
X
# One prompt, which does not end with a page: its samples are attended together.
head -n 1 "$here/rows.jsonl" | python3 -c 'import json; print(json.dumps({"tokens": json.loads(input())["tokens"][:41]}))' >"$here/prompt.jsonl"
for model in models/r1-nano models/r1-nano-student-base; do
  for numerics in cpu-f32 cpu-bf16; do
    build/r1 score "$model" --input "$here/rows.jsonl" --numerics "$numerics" --gradients "$here/x.safetensors" --logprobs "$here/x.jsonl"
    arm score "$model" --input "$here/rows.jsonl" --numerics "$numerics" --gradients "$here/arm.safetensors" --logprobs "$here/arm.jsonl"
    cmp "$here/x.jsonl" "$here/arm.jsonl"
    cmp "$here/x.safetensors" "$here/arm.safetensors"
    sampling=(--samples 5 --max-tokens 12 --temperature 1 --top-p 1 --ignore-eos --logprobs --numerics "$numerics")
    build/r1 generate "$model" --input "$here/prompt.jsonl" --output "$here/x-samples.jsonl" "${sampling[@]}"
    arm generate "$model" --input "$here/prompt.jsonl" --output "$here/arm-samples.jsonl" "${sampling[@]}"
    cmp "$here/x-samples.jsonl" "$here/arm-samples.jsonl"
    echo "$model $numerics: log-probs, gradients and samples are equal to the bit"
  done
  for type in Q8_0 Q4_0; do
    build/r1 score "$model" --input "$here/rows.jsonl" --quantize "$type" --logprobs "$here/x.jsonl"
    arm score "$model" --input "$here/rows.jsonl" --quantize "$type" --logprobs "$here/arm.jsonl"
    cmp "$here/x.jsonl" "$here/arm.jsonl"
    echo "$model --quantize $type (cpu-q8act): log-probs are equal to the bit"
  done
done
