"""r1 and llama.cpp (llama-cpp-python) on the same GGUF file, in turns: prefill of 512 tokens, and decoding after --depth tokens.

    python3 bench/quant_peers.py --bench build/decode_bench --threads 2 FILE.gguf...     # needs llama-cpp-python

llama.cpp's options are tried first and the best are used: threads, n_ubatch, flash attention. Each figure is the median of the turns,
and the load of the machine is printed with them.
"""
import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 3


def peer(path, threads, ubatch, flash, prefill, decode, batch, depth):
    """Prefill and decode tokens/s of llama.cpp in a process of its own."""
    code = [sys.executable, __file__, "--peer", path, str(threads), str(ubatch), str(flash), str(prefill), str(decode), str(batch), str(depth)]
    out = subprocess.run(code, capture_output=True, text=True)
    if out.returncode != 0:
        raise SystemExit(f"llama.cpp failed on {path}:\n{out.stderr[-2000:]}")
    return [float(v) for v in out.stdout.split()[-2:]]


def run_peer(path, threads, ubatch, flash, prefill, decode, batch, depth):
    import llama_cpp as lc
    silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lc.llama_log_set(silent, None)
    lc.llama_backend_init()
    model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
    p = lc.llama_context_default_params()
    p.n_ctx = max(prefill, depth * batch) + decode * batch + 64
    p.n_batch, p.n_ubatch, p.n_threads, p.n_threads_batch, p.n_seq_max = 2048, ubatch, threads, threads, batch
    p.flash_attn_type = flash
    context = lc.llama_init_from_model(model, p)
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))

    def step(tokens, first, sequences=1):
        """`tokens` more tokens for each sequence, from position `first`."""
        n = tokens * sequences
        b = lc.llama_batch_init(n, 0, 1)
        b.n_tokens = n
        for i in range(n):
            b.token[i] = (7919 * (first + i) + 13) % vocab
            b.pos[i] = first + i // sequences
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = i % sequences
            b.logits[i] = 1 if i >= n - sequences else 0
        begin = time.perf_counter()
        if lc.llama_decode(context, b) != 0:
            raise SystemExit("llama_decode failed")
        lc.llama_get_logits_ith(context, n - 1)
        seconds = time.perf_counter() - begin
        lc.llama_batch_free(b)
        return seconds

    memory = lc.llama_get_memory(context)
    step(8, 0)  # warm
    best = 1e9
    for _ in range(2 if prefill else 0):
        lc.llama_memory_clear(memory, True)
        best = min(best, step(prefill, 0))
    lc.llama_memory_clear(memory, True)
    if decode:
        most = p.n_batch // batch  # of a sequence in one call
        for first in range(0, depth, most):
            step(min(most, depth - first), first, batch)
        times = [step(1, depth + i, batch) for i in range(decode)]
        print(prefill / best, batch / statistics.median(times))
    else:
        print(prefill / best, 0)


def ours(bench, path, numerics, threads, prefill, decode, batch, depth):
    head = [bench, path, "--numerics", numerics, "--threads", str(threads)]
    figures = []
    if prefill:
        out = subprocess.run(head + ["--prefill", str(prefill)], capture_output=True, text=True, check=True).stdout
        figures.append(float(out.split("prefill")[1].split(":")[1].split()[0]))
    else:
        figures.append(0.0)
    if decode:
        out = subprocess.run(head + ["--context", str(depth), "--tokens", str(decode), "--batch", str(batch)], capture_output=True, text=True,
                             check=True).stdout
        line = next(l for l in out.splitlines() if l.startswith("batch"))
        figures.append(1e6 * batch / float(line.split("tok/s,")[1].split()[0]))
    else:
        figures.append(0.0)
    return figures


def main():
    if sys.argv[1:2] == ["--peer"]:
        return run_peer(sys.argv[2], *map(int, sys.argv[3:]))
    a = argparse.ArgumentParser()
    a.add_argument("--bench", default="build/decode_bench")
    a.add_argument("--numerics", default="cpu-q8act", help="what r1 computes in; cpu-bf16 or cpu-avx512bf16 for a BF16 file")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--batch", type=int, nargs="*", default=[1])
    a.add_argument("--depth", type=int, default=64, help="tokens of each sequence before decoding is timed; prefill is timed at 64 only")
    a.add_argument("--rounds", type=int, default=ROUNDS)
    a.add_argument("--no-sweep", action="store_true")
    a.add_argument("files", nargs="+")
    args = a.parse_args()
    import llama_cpp
    print(f"llama-cpp-python {llama_cpp.__version__}, {args.threads} threads, {time.strftime('%Y-%m-%d %H:%M')}, load {os.getloadavg()[0]:.1f}")
    for path in args.files:
        name = os.path.basename(path)
        options = (512, -1)
        if not args.no_sweep:
            tried = {(u, f): peer(path, args.threads, u, f, 512, 8, 1, 64) for u in (128, 512) for f in (0, 1)}
            for (u, f), (pre, dec) in tried.items():
                print(f"  {name}: llama.cpp n_ubatch {u} flash attention {f}: prefill {pre:.1f}, decode {dec:.1f}")
            options = max(tried, key=lambda o: tried[o][0])
        for batch in args.batch:
            pairs = []
            prefill = 512 if batch == 1 and args.depth == 64 else 0
            for _ in range(args.rounds):
                what = (prefill, 32, batch, args.depth)
                pairs.append((ours(args.bench, path, args.numerics, args.threads, *what), peer(path, args.threads, *options, *what)))
            for i, what in ((0, "prefill 512"), (1, f"decode, {batch} at once" + (f", depth {args.depth}" if args.depth != 64 else ""))):
                r1 = statistics.median(p[0][i] for p in pairs)
                other = statistics.median(p[1][i] for p in pairs)
                if r1 > 0:
                    print(f"{name:28} {what:30} r1 {r1:8.1f} tok/s   llama.cpp {other:8.1f}   {r1 / other:5.2f}x   load {os.getloadavg()[0]:.1f}",
                          flush=True)


if __name__ == "__main__":
    main()
