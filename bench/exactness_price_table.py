#!/usr/bin/env python3
"""The runs of bench/exactness_price.sh for one shape as a table.

    python3 bench/exactness_price_table.py OUT SHAPE

Tokens per second of each side: the median of the rounds' medians. price: how much longer the exact one takes. noise: the largest distance
of two rounds of a side. The bar is 10 %, the aim 3 %.
"""
import json
import pathlib
import statistics
import sys


def rates(path):
    """Returns {name of the row: tokens per second}."""
    run = json.loads(path.read_text())
    if "results" not in run:
        return {f"training {run['rows']} x {run['length']}": run["tokens_per_s"]["median"]}
    return {f"{row['kind']} {row['batch']}": row["tokens_per_s"]["median"] for row in run["results"]}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, shape = pathlib.Path(sys.argv[1]), sys.argv[2]
    sides, forms = {"exact": {}, "free": {}}, {}
    for side, rows in sides.items():
        for path in sorted(folder.glob(f"{shape}-{side}-*.json")):
            forms[side] = json.loads(path.read_text())["exact"]
            for name, rate in rates(path).items():
                rows.setdefault(name, []).append(rate)
    if not sides["exact"] or sides["exact"].keys() != sides["free"].keys():
        sys.exit(f"exactness_price_table: {folder}: the runs of {shape} are not whole")
    same = forms["exact"] == forms["free"]
    print(f"{shape}" + ("" if not same else " (both sides are exact: the table shows the noise)"))
    print(f"{'':<20} {'exact tok/s':>12} {'free tok/s':>12} {'price':>8} {'noise':>7}")
    for name in sides["exact"]:
        exact, free = (sides[side][name] for side in ("exact", "free"))
        noise = max(max(r) / min(r) for r in (exact, free)) - 1
        price = statistics.median(free) / statistics.median(exact) - 1
        print(f"{name:<20} {statistics.median(exact):>12,.0f} {statistics.median(free):>12,.0f} {100 * price:>6.1f} % {100 * noise:>5.1f} %"
              + ("  over the bar" if price > 0.10 and not same else ""))


if __name__ == "__main__":
    main()
