#!/usr/bin/env bash
# Whether 64-bit Arm computes the same bits: builds r1 for it with the cross compiler (NEON), runs it under an emulator, and compares
# the log-probs, gradients and samples of the shipped models with those of the native build/r1, in f32 and bf16. As root on Debian 12 (x86-64);
# takes a few minutes. Everything lies in build-arm64.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -x build/r1 ]] || { echo "scripts/arm64.sh: build/r1 is missing: ./run or ./test builds it" >&2; exit 2; }

here=$PWD/build-arm64
root=$here/root
libraries=$root/usr/lib/aarch64-linux-gnu
mkdir -p "$here/debs" "$root"
if [[ ! -e $here/unpacked ]]; then
  ((EUID == 0)) || { echo "scripts/arm64.sh: the cross compiler and the emulator are installed by root: run this as root" >&2; exit 2; }
  dpkg --add-architecture arm64
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu qemu-user-static >/dev/null
  # Unpacked beside the system, not installed into it: libraries of two machines do not get on.
  (cd "$here/debs" && apt-get download -qq libhwy-dev:arm64 libhwy1:arm64 libfmt-dev:arm64 libfmt9:arm64 libssl-dev:arm64 libssl3:arm64 \
    libsimdjson-dev:arm64 libsimdjson14:arm64 libpcre2-dev:arm64 libpcre2-8-0:arm64 libpcre2-16-0:arm64 libpcre2-32-0:arm64 \
    libpcre2-posix3:arm64 libicu-dev:arm64 libicu72:arm64)
  for package in "$here"/debs/*.deb; do dpkg -x "$package" "$root"; done
  cp -r /usr/include/{toml++,CLI,nlohmann} "$root/usr/include/"
  mkdir -p "$root/usr/share"
  cp -r /usr/share/cmake "$root/usr/share/"
  touch "$here/unpacked"
fi

cat >"$here/toolchain.cmake" <<X
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH $root)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_CXX_FLAGS_INIT "-isystem $root/usr/include -isystem $root/usr/include/aarch64-linux-gnu")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-L$libraries -Wl,-rpath-link,$libraries")
X
export PKG_CONFIG_LIBDIR=$libraries/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
cmake -S . -B "$here/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$here/toolchain.cmake" -DCMAKE_BUILD_TYPE=Release -DR1_TESTS=OFF \
  -DR1_BENCH=OFF -DR1_CHART_JS=/usr/share/javascript/chart.js/chart.min.js >/dev/null
cmake --build "$here/build" --target r1

arm() {
  qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="/usr/aarch64-linux-gnu/lib:$libraries" "$here/build/r1" "$@"
}
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
done
