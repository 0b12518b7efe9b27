#!/usr/bin/env python3
"""Decides whether an answer pays the amount. Reads one JSON object per line and writes one per line.

In:  {"id": ..., "question": "Pay 17 with coins of 3, 4 and 8.", "answer": "8+4+3+...", ...}
Out: {"id": the same, "score": 1 or 0, "why": "..."}
"""

import json
import re
import sys


def judge(question, answer):
    amount, *coins = map(int, re.findall(r"\d+", question))
    parts = [part.strip() for part in (answer or "").split("+")]
    if not all(part.isdigit() for part in parts):
        return 0, "not a sum of coins"
    used = [int(part) for part in parts]
    if any(coin not in coins for coin in used):
        return 0, "a coin that does not exist"
    if sum(used) != amount:
        return 0, f"the coins are worth {sum(used)}"
    return 1, "ok"


for line in sys.stdin:
    row = json.loads(line)
    score, why = judge(row["question"], row.get("answer"))
    print(json.dumps({"id": row["id"], "score": score, "why": why}), flush=True)
