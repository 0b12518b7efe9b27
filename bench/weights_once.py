"""Memory, warm start, decoding and prefill of a model that is larger than every cache, beside an earlier build, pair by pair.

    python3 bench/make_shape.py r1-distill-qwen-1.5b FOLDER          # 3.6 GB, once
    python3 bench/weights_once.py BEFORE_R1 FOLDER [PAIRS] [R1]      # BEFORE_R1: an r1 of another commit; R1: build/r1

Each pair runs both programs, one after the other, three times: a prompt of 8 tokens with one token sampled, the same with 17,
and a prompt of 264 tokens with one. The files are in the page cache (a run before the first pair sees to it).

  memory       the largest VmHWM over the file's size
  start        loading and the first token of the short prompt, in seconds of wall time
  start CPU    seconds of CPU time of that whole run, user and system; with nothing else on the machine, divided by the
               threads, about its wall time
  decode       tokens per second of wall time, over 16 tokens
  decode CPU   milliseconds of user CPU time per token: 17 tokens less one
  prefill CPU  milliseconds of user CPU time per token: the long prompt less the short one

Each figure is given for the program before and for the new one, with the ratio of the two. The summary takes the median over the pairs.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile


def run(program, folder, prompt, tokens):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(prompt, file)
        file.flush()
        command = [program, "run", folder, "--prompt-tokens", file.name, "--max-tokens", str(tokens), "--temperature", "0",
                   "--ignore-eos", "--json"]
        with tempfile.TemporaryFile("w+") as out:
            child = subprocess.Popen(command, stdout=out)
            _, status, usage = os.wait4(child.pid, 0)
            if status != 0:
                sys.exit(f"{' '.join(command)}: status {status}")
            out.seek(0)
            answer = json.load(out)
    return answer, usage


def measure(program, folder, size):
    short = [(7919 * i) % 151000 + 1 for i in range(8)]
    long = [(7919 * i) % 151000 + 1 for i in range(264)]
    first, start = run(program, folder, short, 1)
    answer, decode = run(program, folder, short, 17)
    read, prefill = run(program, folder, long, 1)
    times = first["timings"]
    return {
        "memory": max(u.ru_maxrss for u in (start, decode, prefill)) * 1024 / size,
        "start": times["load_s"] + times["prompt_s"],
        "start CPU": start.ru_utime + start.ru_stime,
        "decode": 16 / answer["timings"]["generation_s"],
        "decode CPU": (decode.ru_utime - start.ru_utime) / 16 * 1e3,
        "prefill CPU": (prefill.ru_utime - start.ru_utime) / 256 * 1e3,
        "tokens": answer["tokens"] + read["tokens"],
    }


def line(label, before, now):
    cells = [f"{key} {before[key]:7.3f} {now[key]:7.3f} x{now[key] / before[key]:6.3f}" for key in before if key != "tokens"]
    print(f"{label:7}" + "   ".join(cells), flush=True)


def main():
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    before, folder = sys.argv[1:3]
    pairs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    now = sys.argv[4] if len(sys.argv) > 4 else "build/r1"
    size = sum(f.stat().st_size for f in pathlib.Path(folder).glob("*.safetensors"))
    run(now, folder, [1], 1)
    print(f"# {folder}: {size / 1e9:.2f} GB; each pair: before, now, ratio; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rows = []
    for pair in range(pairs):
        rows.append((measure(before, folder, size), measure(now, folder, size)))
        if rows[-1][0]["tokens"] != rows[-1][1]["tokens"]:
            sys.exit("the two programs sample different tokens")
        line(f"pair {pair + 1}", *rows[-1])
    middle = [{key: statistics.median(row[side][key] for row in rows) for key in rows[0][0] if key != "tokens"} for side in (0, 1)]
    line("median", *middle)
    print("all tokens equal")


if __name__ == "__main__":
    main()
