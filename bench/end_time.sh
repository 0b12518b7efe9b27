#!/usr/bin/env bash
# Prints the time, in seconds since 1970, at which so many minutes from now are over; 0 for no minutes, which means no end. For the scripts
# beside it that have --minutes.
#   bench/end_time.sh MINUTES
set -euo pipefail
[[ ${1:-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || { echo "bench/end_time.sh: --minutes is ${1:-nothing}; it must be a number of minutes" >&2; exit 2; }
awk -v now="$(date +%s)" -v minutes="$1" 'BEGIN { printf "%d\n", (minutes > 0 ? now + 60 * minutes : 0) }'
