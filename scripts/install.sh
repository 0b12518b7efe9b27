#!/usr/bin/env bash
# Installs what the build needs (Debian 12 packages), where it is not there yet. "tests" as the argument adds the tests' needs.
set -euo pipefail

packages=(cmake ninja-build g++ pkg-config git ca-certificates libhwy-dev libsimdjson-dev nlohmann-json3-dev
  libtomlplusplus-dev libcli11-dev libfmt-dev libpcre2-dev libicu-dev libssl-dev zlib1g-dev libboost-dev libedit-dev libjs-chart.js
  libjs-katex fonts-katex)
if [[ ${1:-} == tests ]]; then
  packages+=(libgtest-dev libgmock-dev clang-16 libclang-rt-16-dev llvm-16 python3-venv libzstd-dev)
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
if ((${#missing[@]} == 0)); then exit 0; fi
if ((EUID != 0)); then
  echo "r1: these packages are missing: ${missing[*]}: install them, or run this as root" >&2
  exit 2
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
