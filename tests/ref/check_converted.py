"""Loads what r1 converts with llama.cpp and with transformers, and compares tokens and logits.

  python tests/ref/check_converted.py R1 MODEL gguf          (packages: llama-cpp-python, numpy)
  python tests/ref/check_converted.py R1 MODEL directory     (packages: torch, transformers, numpy)

MODEL is a Hugging Face directory or a GGUF file. gguf: `r1 convert MODEL out.gguf --dtype f32`; llama.cpp loads it, gives the ids of
`r1 tokenize` for texts of many kinds, and logits near those of `r1 score`. directory: `r1 convert MODEL out`; transformers loads it, gives
the same ids, and logits near those of `r1 score`.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def corpus():
    """Lines of this repository, and ragged strings."""
    source = random.Random(3)
    texts = [line for name in ["README.md", "docs/guide.md", "src/text/bpe.cc"] for line in (ROOT / name).read_text().splitlines() if line]
    letters = "abcXYZ 0123456789\t\n\r.,;!?'\"()[]{}<>|_-+=*/\\#@$%^&~`éßøÅñ½²Ⅷ١٢٣我想在工作ひらがなカタカナ한국어नमस्तेภาษาไทย🙂👩‍👩‍👧\u200b\u00a0\u3000"
    texts += ["".join(source.choice(letters) for _ in range(source.randint(1, 60))) for _ in range(2000)]
    texts += ["", " ", "  \n\n  x", "It's WE'LL they've", "12345678", "def f(x):\n    return x**2\n"]
    return texts


def ids_of(r1, model, texts, folder):
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return [json.loads(line)["tokens"] for line in run(r1, "tokenize", model, "--split-special-tokens", "--input",
                                                       folder / "texts.jsonl").splitlines()]


def logits_of(r1, model, tokens, folder):
    (folder / "rows.jsonl").write_text(json.dumps({"tokens": tokens}) + "\n")
    run(r1, "score", model, "--dtype", "f32", "--input", folder / "rows.jsonl", "--output", folder / "logits.safetensors")
    data = (folder / "logits.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:8 + size])["logits.0"]
    begin, end = (8 + size + at for at in entry["data_offsets"])
    return np.frombuffer(data[begin:end], dtype=np.float32).reshape(entry["shape"])


def report(name, texts, ours, theirs, logits, other):
    wrong = [(text, a, b) for text, a, b in zip(texts, ours, theirs) if a != b]
    for text, a, b in wrong[:5]:
        print(f"  {text!r}: r1 {a}, {name} {b}")
    difference = np.abs(logits - other).max()
    same = (logits.argmax(axis=1) == other.argmax(axis=1)).mean()
    print(f"{name}: loads; {len(texts) - len(wrong)} of {len(texts)} texts have the same ids; logits differ by at most {difference:.2e} of "
          f"{np.abs(other).max():.1f}, the same most likely token in {100 * same:.1f} % of {len(other)} places")
    return not wrong and same > 0.98


def with_llama(r1, model, folder, texts):
    import llama_cpp
    path = folder / "out.gguf"
    run(r1, "convert", model, path, "--dtype", "f32")
    ours = ids_of(r1, path, texts, folder)
    assert ours == ids_of(r1, model, texts, folder), "r1's own tokenizer differs between MODEL and what it was converted to"
    llama = llama_cpp.Llama(str(path), n_ctx=256, n_batch=256, logits_all=True, verbose=False)
    theirs = [llama.tokenize(text.encode(), add_bos=False, special=False) if text else [] for text in texts]
    tokens = max(ours, key=len)[:64]
    llama.eval(tokens)
    return report("llama.cpp", texts, ours, theirs, logits_of(r1, path, tokens, folder), np.array(llama.scores[:len(tokens)]))


def with_transformers(r1, model, folder, texts):
    import torch
    import transformers
    path = folder / "out"
    run(r1, "convert", model, path)
    ours = ids_of(r1, path, texts, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    theirs = [tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) for text in texts]
    other = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokens = max(ours, key=len)[:64]
    with torch.no_grad():
        logits = other(torch.tensor([tokens])).logits[0].numpy()
    return report("transformers", texts, ours, theirs, logits_of(r1, path, tokens, folder), logits)


def main():
    r1, model, kind = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as name:
        check = {"gguf": with_llama, "directory": with_transformers}[kind]
        sys.exit(0 if check(r1, model, pathlib.Path(name), corpus()) else 1)


main()
