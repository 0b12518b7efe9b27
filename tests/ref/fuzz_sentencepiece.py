"""Compares `r1 tokenize` on SentencePiece BPE vocabularies with the packages they come from.

Usage: python tests/ref/fuzz_sentencepiece.py [--r1 build/r1] [--strings 20000] [--seed 1] [--smollm2 FILE.gguf] [--keep DIR]

Each round trains one small vocabulary, writes it as a GGUF file and as tokenizer.json, and compares the ids that r1 gives random
texts:
  the GGUF file         with those of sentencepiece, and of llama-cpp-python if it is installed; decoded text with tokenizers'
  the tokenizer.json    with those of tokenizers
  GGUF pre-tokenizers   each name of tokenizer.ggml.pre, with a byte-level vocabulary, with those of tokenizers (patterns below)
  SmolLM2               with those of llama-cpp-python, if both are there

A text that two of the packages read differently by their rules is not compared: sentencepiece finds no special tokens in a text, and
puts no space behind a user-defined one. The exit status is 1 if there was a difference. Packages: tokenizers, sentencepiece, gguf.
"""
import argparse
import json
import pathlib
import random
import sys
import tempfile

from gguf import GGUFWriter
from tokenizers import Tokenizer

import sentencepiece_models as sp
from fuzz_tokenizers import (BYTES, GPT2, LLAMA3, QWEN2, R1, WORDS, byte_level, random_text, sequence, split, trained_model)

try:
    from llama_cpp import Llama
except ImportError:
    Llama = None

CODE = ["def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "SELECT * FROM t WHERE a = 'b';", "{\"key\": [1, 2, null]}", "<html>&amp;</html>",
        "https://example.com/a?b=c#d", "/* comment */ // more", "#include <vector>\r\n", "x = np.zeros((3, 4))", "\\frac{1}{2} \\sqrt{x}"]
PROSE = ["The capital of France is Paris. ", "Les élèves de l'école ", "Größere Äpfel und Öl ", "Привет, как дела? ", "我想在apple工作1314151天～", "ひらがなとカタカナ", "한국어 문장입니다 ", "नमस्ते दुनिया ",
         "مرحبا بالعالم ", "สวัสดีชาวโลก", "Καλημέρα κόσμε ", "שלום עולם ", "Xin chào thế giới ", "🙂🙃😶\u200d🌫️🇩🇪", "don't I'LL we've ", "12345 3.14159 ", "    \t\n\n  "]
SPECIALS = ["<s>", "</s>", "<unk>", "<s", "s>", "<0x41>", "<0xE4><0xB8>", "\u2581", "\u2581\u2581the", "<tool>", "<tool", "[INST]", "[/INST]"]


def ragged_text(rng):
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(["", " ", "  ", "\n", "\x00", "\x00\x01\x02", " " * rng.randrange(40), "\ufeff"])
    if kind < 4:
        return "".join(rng.choice(CODE + PROSE) for _ in range(rng.randint(1, 4)))
    if kind < 6:
        return "".join(rng.choice(SPECIALS + PROSE + WORDS) for _ in range(rng.randint(1, 8)))
    if kind == 6:
        return " " * rng.randrange(4) + rng.choice(PROSE + CODE) + " " * rng.randrange(4)
    if kind == 7:
        return rng.choice(["a", "-", "the", " ", "é", "中", "🙂", "\u2581", "=", "1", "ab"]) * rng.choice([3, 41, 100])
    return random_text(rng, WORDS + SPECIALS)


class Tally:
    def __init__(self, keep):
        self.bad = self.done = 0
        self.keep = keep

    def compare(self, what, path, inputs, ours, theirs):
        shown = False
        for value, a, b in zip(inputs, ours, theirs, strict=True):
            self.done += 1
            if a == b:
                continue
            self.bad += 1
            if shown:
                continue
            shown = True
            self.keep.mkdir(parents=True, exist_ok=True)
            kept = self.keep / ("%d-%s" % (self.bad, path.name))
            kept.write_bytes(path.read_bytes())
            print("DIFFERENCE (%s): %s\n  input %s\n  r1    %s\n  peer  %s" % (what, kept, ascii(value), ascii(a), ascii(b)), flush=True)


def use(r1, path):
    r1.path = path
    return r1


def vocabulary_round(r1, rng, texts, folder, tally):
    corpus = [rng.choice(CODE + PROSE + WORDS) * rng.choice([1, 1, 2]) for _ in range(rng.choice([40, 200]))]
    options = dict(byte_fallback=rng.random() < 0.75, dummy_prefix=rng.random() < 0.6, user_defined=rng.choice([[], [], ["<tool>", "\n\n", "▁▁▁"]]),
                   coverage=rng.choice([0.98, 0.99, 1.0]), split_digits=rng.random() < 0.5)
    model = sp.train(corpus, rng.choice([420, 600, 900]), **options)
    kept = {k: options[k] for k in ("dummy_prefix", "user_defined")}
    path = folder / "m.gguf"
    sp.write_gguf(path, model, **kept)
    use(r1, path)
    as_text = r1.encode(texts, "--split-special-tokens")
    if not options["user_defined"]:
        tally.compare("GGUF and sentencepiece", path, texts, as_text, [model.encode(t) for t in texts])
    if Llama is not None and options["byte_fallback"]:
        peer = Llama(str(path), vocab_only=True, verbose=False)
        tally.compare("GGUF and llama.cpp", path, texts, as_text, [peer.tokenize(t.encode(), add_bos=False, special=False) for t in texts])
        tally.compare("GGUF and llama.cpp, special tokens", path, texts, r1.encode(texts), [peer.tokenize(t.encode(), add_bos=False, special=True) for t in texts])
    random_ids = [[rng.randrange(model.get_piece_size()) for _ in range(rng.randint(1, 10))] for _ in range(100)]
    legacy = Tokenizer.from_str(json.dumps(sp.tokenizer_json(model, "legacy", **kept)))
    tally.compare("GGUF and tokenizers, decoded", path, random_ids, r1.decode(random_ids), legacy.decode_batch(random_ids, skip_special_tokens=False))
    for form in ("legacy", "metaspace", "split"):
        description = sp.tokenizer_json(model, form, **kept)
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(description))
        peer = Tokenizer.from_str(json.dumps(description))
        use(r1, path)
        for flags, post, special in (((), False, False), (("--add-special-tokens",), True, False), (("--split-special-tokens",), False, True)):
            peer.encode_special_tokens = special
            tally.compare("tokenizer.json, " + form, path, texts, r1.encode(texts, *flags), [e.ids for e in peer.encode_batch(texts, add_special_tokens=post)])
        ids = [e.ids for e in peer.encode_batch(texts)] + random_ids
        for flags in ((), ("--skip-special-tokens",)):
            tally.compare("tokenizer.json, decoded, " + form, path, ids, r1.decode(ids, *flags), peer.decode_batch(ids, skip_special_tokens=bool(flags)))


# ---------------------------------------------------------------- the names of tokenizer.ggml.pre

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(contraction, digits, end):
    return ("[^\\r\\n\\p{L}\\p{N}]?%(u)s*%(l)s+%(c)s|[^\\r\\n\\p{L}\\p{N}]?%(u)s+%(l)s*%(c)s|%(d)s| ?[^\\s\\p{L}\\p{N}]+%(e)s|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
            % {"u": UPPER, "l": LOWER, "c": contraction, "d": digits, "e": end})


O200K = cased(CONTRACTIONS + "?", r"\p{N}{1,3}", "[\\r\\n/]*")
KIMI = "[\\p{Han}]+|" + cased(CONTRACTIONS + "?", r"\p{N}{1,3}", "[\\r\\n]*").replace("\\p{M}]", "\\p{M}&&[^\\p{Han}]]")
ASIAN = "[一-龥\u3040-\u309f\u30a0-\u30ff]+"
PUNCTUATED = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
AFMOE_ASIAN = ("[一-\u9fff㐀-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e00-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff"
               "\uac00-\ud7af\u1100-\u11ff]+")
DIGITS = {"type": "Digits", "individual_digits": True}
# name: (patterns, uses GPT-2's pattern last, ignores merges, NFC)
PRE = {
    "gpt-2": ([], True), "smollm": ([DIGITS], True), "llama-bpe": ([LLAMA3], False, True), "qwen2": ([QWEN2], False, False, True), "stablelm2": ([QWEN2], False),
    "jais-2": ([LLAMA3.replace(r"\s+(?!\S)|\s+", "|".join(r"\s{%s}(?!\S)" % n for n in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2")) + r"|\s{1}")], False),
    "minicpm5": ([r"\p{N}{1,3}", QWEN2.replace(r"|\p{N}|", r"|\p{N}+|")], False, True),
    "spark2_5": ([r"\p{N}{1,3}", ASIAN, PUNCTUATED + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"], False),
    "deepseek-v3": ([r"\p{N}{1,3}", ASIAN, PUNCTUATED + r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"], False),
    "hy_v4": ([r"\p{N}{1,3}", ASIAN, PUNCTUATED + r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"], False),
    "youtu": (["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + ASIAN, cased(CONTRACTIONS + "?", r"\p{N}", "[\\r\\n/]*")], False, True),
    "qwen35": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"], False, False, True),
    "gpt-4o": ([O200K], False), "kanana2": ([O200K], False), "granite-embed-multi-97m": ([O200K], False, True), "tekken": ([cased("", r"\p{N}", "[\\r\\n/]*")], False, True),
    "tiny_aya": ([r"\d{1,3}(?=(?:\d{3})*\b)", O200K], False), "superbpe": ([r"\p{N}+", r"(?=(\d{3})+(?!\d))"], False),
    "afmoe": ([r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", AFMOE_ASIAN, PUNCTUATED + r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"], False),
    "bloom": ([BLOOM], False), "viking": ([BLOOM, r"\p{N}"], False),
    "chameleon": (["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]"], True),
    "bailingmoe": ([r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"], False),
    "seed-coder": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"], False),
    "exaone-moe": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"], False),
    "laguna": ([r"[^\n]+|[\n]+", QWEN2], False), "ufakzeka": ([QWEN2.removeprefix(CONTRACTIONS + "|")], False), "kimi-k2": ([KIMI], False, True),
}


def pre_tokenizer_round(r1, rng, texts, folder, tally, name):
    patterns, words, ignore_merges, nfc = (PRE[name] + (False, False))[:4]
    merges = []
    while not merges:  # the gguf package writes no empty list
        tokens, merges = trained_model(rng)
    parts = [split(p) if isinstance(p, str) else p for p in patterns] + [byte_level(words)]
    peer = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "NFC"} if nfc else None,
        "pre_tokenizer": sequence("pre", parts), "post_processor": None, "decoder": byte_level(True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": ignore_merges, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}}))
    path = folder / ("%s.gguf" % name)
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list([t.encode() for t in tokens])
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["%s %s" % m for m in merges])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tally.compare("tokenizer.ggml.pre = " + name, path, texts, use(r1, path).encode(texts), [e.ids for e in peer.encode_batch(texts)])


def smollm2(r1, path, texts, tally):
    if Llama is None:
        print("SKIPPED: llama-cpp-python is not installed: SmolLM2's token ids were not compared with its", flush=True)
        return
    peer = Llama(str(path), vocab_only=True, verbose=False)
    # llama.cpp has no NFC and its own tables of Unicode, which differ in characters newer than these texts should have.
    tally.compare("SmolLM2 and llama.cpp", path, texts, use(r1, path).encode(texts), [peer.tokenize(t.encode(), add_bos=False, special=True) for t in texts])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smollm2", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("build/fuzz-sentencepiece"))
    options = parser.parse_args()
    rng = random.Random("sentencepiece %d" % options.seed)
    tally = Tally(options.keep)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        r1 = R1(options.r1, name)
        done = 0
        names = list(PRE)
        while done < options.strings or names:
            texts = [ragged_text(rng) for _ in range(500)]
            vocabulary_round(r1, rng, texts, folder, tally)
            for _ in range(min(2, len(names))):
                pre_tokenizer_round(r1, rng, texts, folder, tally, names.pop())
            done += len(texts)
        if options.smollm2:
            plain = [rng.choice(["", " "]) + "".join(rng.choice(CODE + PROSE + ["<|im_start|>", "<|im_end|>"]) for _ in range(rng.randint(1, 5))) for _ in range(2000)]
            smollm2(r1, options.smollm2, plain, tally)
    print("%d strings, seed %d, %d comparisons%s: %d differences" % (done, options.seed, tally.done, "" if Llama else " (without llama-cpp-python)", tally.bad))
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
