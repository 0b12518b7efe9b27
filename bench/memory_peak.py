"""Memory and first token of quantised files: the peak beside file + keys and values, the time to the first token of a warm file,
and what two processes of one file have in common.

    python3 bench/memory_peak.py R1 FILE.gguf... [--kv-type bf16|q8] [--runs N]      (package: gguf)

Per file, with a prompt of 8 tokens:

  peak         the largest resident memory of a run that generates 128 tokens, and its ratio to file + keys and values; of the
               latter, those of the tokens that the run has, for grouped-query attention
  first token  seconds from the start of the process to the first token, median and range of N runs (5); the file is in the page
               cache (a run before sees to it). "load" is the part before the prompt
  two at once  resident memory and proportional share (PSS) of each of two processes while both decode, and what of the file is
               resident in their address spaces (0: the page cache holds it once for both, outside of them)
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from gguf import GGUFReader

PROMPT = [(7919 * i) % 49000 + 1 for i in range(8)]


def command(r1, file, prompt, tokens, kv):
    return [r1, "run", str(file), "--prompt-tokens", prompt, "--max-tokens", str(tokens), "--temperature", "0", "--ignore-eos",
            "--json", *(["--kv-type", kv] if kv else [])]


def finish(child, out):
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(child.args)}: status {status}")
    out.seek(0)
    return json.load(out), usage


def run(*arguments):
    with tempfile.TemporaryFile("w+") as out:
        return finish(subprocess.Popen(command(*arguments), stdout=out, stderr=subprocess.DEVNULL), out)


def kv_bytes_per_token(file, kv):
    """Bytes of keys and values per token: bf16, or int8 with one f32 scale per token and head."""
    fields = GGUFReader(file).fields
    architecture = fields["general.architecture"].contents()
    number = lambda name: int(fields[f"{architecture}.{name}"].contents())
    heads, queries = number("attention.head_count_kv"), number("attention.head_count")
    width = number("embedding_length") // queries
    return number("block_count") * 2 * heads * (width + 4 if kv == "q8" else 2 * width)


def rollup(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) * 1024
    return fields


def of_file(pid, file):
    """Resident bytes of the file in the process."""
    total, counts = 0, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            counts = line.endswith(str(file))
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def two_at_once(r1, file, prompt, kv):
    outs = [tempfile.TemporaryFile("w+") for _ in range(2)]
    children = [subprocess.Popen(command(r1, file, prompt, 200, kv), stdout=out, stderr=subprocess.DEVNULL) for out in outs]
    best = []
    while all(child.poll() is None for child in children):
        try:
            now = [(rollup(child.pid), of_file(child.pid, file.resolve())) for child in children]
        except (ProcessLookupError, FileNotFoundError):  # one has just ended
            break
        if not best or sum(f["Rss"] for f, _ in now) > sum(f["Rss"] for f, _ in best):
            best = now
        time.sleep(0.1)
    for child in children:
        child.wait()
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("r1")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--kv-type", choices=["bf16", "q8"], default="bf16")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"# {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as prompt:
        json.dump(PROMPT, prompt)
        prompt.flush()
        for name in options.files:
            file = pathlib.Path(name)
            arguments = (options.r1, file, prompt.name)
            run(*arguments, 1, options.kv_type)
            size, kv = file.stat().st_size, kv_bytes_per_token(file, options.kv_type) * (len(PROMPT) + 128)
            _, usage = run(*arguments, 128, options.kv_type)
            peak = usage.ru_maxrss * 1024
            print(f"{file.name:14} file {size / 1e6:8.1f} MB  keys and values {kv / 1e6:5.1f} MB  "
                  f"peak {peak / 1e6:8.1f} MB = {peak / (size + kv):.3f} of file + keys and values", flush=True)
            starts = [run(*arguments, 1, options.kv_type)[0]["timings"] for _ in range(options.runs)]
            firsts = [t["load_s"] + t["prompt_s"] for t in starts]
            print(f"{'':14} first token {statistics.median(firsts):.3f} s ({min(firsts):.3f} to {max(firsts):.3f}), "
                  f"of which load {statistics.median(t['load_s'] for t in starts):.3f} s", flush=True)
            both = two_at_once(options.r1, file, prompt.name, options.kv_type)
            for fields, mapped in both:
                print(f"{'':14} two at once: resident {fields['Rss'] / 1e6:8.1f} MB, proportional share {fields['Pss'] / 1e6:8.1f} MB, "
                      f"file mapped {mapped / 1e6:.1f} MB", flush=True)


main()
