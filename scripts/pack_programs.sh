#!/usr/bin/env bash
# Copies programs to a folder for a machine that has no more than a driver and the C library: stripped, their libraries in lib/ beside them, and
# the commit in a file of that name.
#   scripts/pack_programs.sh BUILD DIR PROGRAM...
set -euo pipefail
[[ $# -ge 3 ]] || { echo "usage: scripts/pack_programs.sh BUILD DIR PROGRAM..." >&2; exit 2; }
build=$1 to=$2
shift 2
for program in "$@"; do
  [[ -x $build/$program ]] || { echo "scripts/pack_programs.sh: $build/$program is missing: build it first (ninja $*)" >&2; exit 2; }
done
mkdir -p "$to/lib"
for program in "$@"; do
  cp "$build/$program" "$to/"
  strip "$to/$program"
  # The C library is the machine's own.
  ldd "$build/$program" | awk '$2 == "=>" && $1 !~ /^lib(c|m|dl|rt|pthread)\.so/ {print $3}' | xargs -r cp -Lt "$to/lib"
done
git -C "$(dirname "$0")" describe --always --dirty --abbrev=12 >"$to/commit" 2>/dev/null || echo unknown >"$to/commit"
