"""Memory, warm start, decoding and prefill of a model that is larger than every cache, beside an earlier build, pair by pair.

    python3 bench/make_shape.py r1-distill-qwen-1.5b FOLDER          # 3.6 GB, once
    python3 bench/weights_once.py BEFORE_R1 FOLDER [PAIRS] [R1]      # BEFORE_R1: an r1 of another commit; R1: build/r1

Each pair runs both programs, one after the other, twice: a prompt of 8 tokens with 33 tokens sampled, and a prompt of
520 tokens with one. The files are in the page cache (a run before the first pair sees to it).

  memory     VmHWM over the file's size
  start      loading and the first token, of the short prompt, in seconds
  decode     tokens per second of the other 32
  prefill    512 tokens over what the long prompt takes longer than the short one, in tokens per second of wall time
  user CPU   seconds that the program's own code ran, in both runs together: other work on the machine does not count

A last column holds the ratio of the new program to the one before. The summary takes the median over the pairs.
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
    return answer, usage.ru_maxrss * 1024, usage.ru_utime


def measure(program, folder, size):
    short = [(7919 * i) % 151000 + 1 for i in range(8)]
    long = [(7919 * i) % 151000 + 1 for i in range(520)]
    answer, memory, user = run(program, folder, short, 33)
    times = answer["timings"]
    more, more_memory, more_user = run(program, folder, long, 1)
    return {
        "memory": max(memory, more_memory) / size,
        "start": times["load_s"] + times["prompt_s"],
        "decode": 32 / times["generation_s"],
        "prefill": 512 / (more["timings"]["prompt_s"] - times["prompt_s"]),
        "user CPU": user + more_user,
        "tokens": answer["tokens"] + more["tokens"],
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
