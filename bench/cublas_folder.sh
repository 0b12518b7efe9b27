#!/usr/bin/env bash
# Prints the folder of libcublasLt.so.13, which r1 bench --no-exact opens: of the system, of CUDA's toolkit, or of the Python package that
# PyTorch brings. Exit status 1 if there is none.
set -euo pipefail
name=libcublasLt.so.13
{
  ldconfig -p 2>/dev/null | awk -v name=$name '$1 == name {print $NF}'
  printf '%s\n' /usr/local/cuda*/lib64/$name /usr/local/cuda*/targets/*/lib/$name
  python3 - <<'P' 2>/dev/null || true
import glob, sys
for folder in sys.path:
    for path in glob.glob(f"{folder}/nvidia/*/lib/libcublasLt.so.13"):
        print(path)
P
} | while read -r path; do
  [[ ! -e $path ]] || { dirname "$path"; break; }
done | grep . || { echo "bench/cublas_folder.sh: $name is not found: install cuBLAS of CUDA 13" >&2; exit 1; }
