"""Times Math-Verify on the rows of bench/verifier_bench.cc: python math_verify_peer.py ROWS.jsonl [REPEATS]

Needs math-verify (with antlr4). Prints the verdicts per second on one core and the share of correct answers. Math-Verify's
time-outs are switched off, as its documentation advises for threads, because they would cost it time."""
import json
import logging
import sys
import time

from math_verify import parse, verify

logging.disable(logging.CRITICAL)
rows = [json.loads(line) for line in open(sys.argv[1])]
repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 1


def verdict(row):
    gold = parse("$" + row["gold"] + "$" if "$" not in row["gold"] else row["gold"], parsing_timeout=None)
    return verify(gold, parse(row.get("completion_tail", row["pred"]), parsing_timeout=None), timeout_seconds=None)


for row in rows[:20]:  # warms up imports and caches
    verdict(row)
begin = time.perf_counter()
correct = sum(bool(verdict(row)) for _ in range(repeats) for row in rows)
seconds = time.perf_counter() - begin
n = len(rows) * repeats
print(f"Math-Verify  {len(rows)} rows  {n / seconds:.0f} verdicts/s  correct {correct / n:.3f}")
print(json.dumps({"bench": "math-verify", "rows": len(rows), "verdicts_per_s": n / seconds, "correct": correct / n}))
