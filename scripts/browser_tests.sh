#!/usr/bin/env bash
# Runs the page of `r1 serve` in headless Chromium (tests/browser/page_test.py), about a minute on two cores. Without Chromium or the
# packages it says so and ends with 0. $R1_SMOLLM2_GGUF, if it is set, is SmolLM2's file, which one of the tests talks to.
#   scripts/browser_tests.sh [PROGRAM] [--screenshots DIR]      (default: build/r1)
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
  echo "browser_tests: SKIPPED: $1, so the page was not tried in a browser" >&2
  exit 0
}

if ! command -v chromium >/dev/null && ((EUID == 0)); then
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || true
fi
command -v chromium >/dev/null || skip "chromium is not installed"
python=$(scripts/python_environment.sh browser playwright==1.65.2 axe-playwright-python==0.1.8) || skip "playwright is missing"

program=build/r1
if [[ ${1:-} != "" && ${1:-} != --* ]]; then
  program=$1
  shift
fi
exec "$python" tests/browser/page_test.py "$program" "$@"
