"""Writes tests/golden/text/tiktoken.json: a small tiktoken.model, a tokenizer_config.json as Moonlight and Kimi have it, and the ids that
the package tiktoken gives chosen texts with it.

  python tests/ref/tiktoken_golden.py         (packages: tiktoken, tokenizers, sentencepiece, gguf)
"""

import base64
import json
import pathlib

import tiktoken

from fuzz_sentencepiece import CODE, KIMI, PROSE

TEXTS = ["", " ", "Hello world", "<|im_user|>user<|im_middle|>hi<|im_end|><|im_assistant|>assistant<|im_middle|>", "[BOS]a[EOS]", "<|reserved_token_%d|>x", "we've DON'T it's 12345",
         "我想在apple工作1314151天～", "漢字々〇ーと仮名 カタカナ", "naïve café e\u0301", "🙂👩\u200d👧", "    \n\n\t x\r\n", "def f(x):\n    return x ** 2\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "한국어 नमस्ते ภาษาไทย",
         "CamelCase HTTPServer中文ABCdef", "<|im_end", "\x00\x7f"]


def train(corpus, size):
    """Byte-pair merges of a few words, as tiktoken's own example trains them."""
    ranks = {bytes([b]): b for b in range(256)}
    words = [[bytes([b]) for b in word.encode()] for word in corpus]
    while len(ranks) < size:
        counts = {}
        for word in words:
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=lambda pair: (counts[pair], pair))
        ranks[best[0] + best[1]] = len(ranks)
        for w, word in enumerate(words):
            out, i = [], 0
            while i < len(word):
                if i + 1 < len(word) and (word[i], word[i + 1]) == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            words[w] = out
    return ranks


def main():
    corpus = [word for text in CODE + PROSE for word in text.split(" ")] * 2 + [" the", " world", "Hello", " 中文"] * 5
    ranks = train(corpus, 420)
    base = len(ranks)
    names = {base: "[BOS]", base + 1: "[EOS]", base + 2: "<|im_end|>", base + 3: "<|im_user|>", base + 4: "<|im_assistant|>", base + 10: "<|im_system|>", base + 17: "<|im_middle|>",
             base + 254: "[UNK]", base + 255: "[PAD]"}
    special = {names.get(i, "<|reserved_token_%d|>" % i): i for i in range(base, base + 258)}
    # tiktoken's engine takes PCRE-like patterns with classes inside classes, as Oniguruma does.
    encoding = tiktoken.Encoding(name="small", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)
    rows = []
    for text in TEXTS:
        text = text % (base + 40) if "%d" in text else text
        rows.append({"text": text, "ids": encoding.encode(text, allowed_special="all")})
    config = {"tokenizer_class": "TikTokenTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_moonshot.TikTokenTokenizer", None]}, "bos_token": "[BOS]", "eos_token": "[EOS]",
              "unk_token": "[UNK]", "pad_token": "[PAD]", "additional_special_tokens": ["<|im_end|>", "<|im_user|>"],
              "added_tokens_decoder": {str(i): {"content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} for i, name in names.items()}}
    file = "".join("%s %d\n" % (base64.b64encode(token).decode(), rank) for token, rank in ranks.items())
    out = {"file": file, "config": config, "vocab_size": base + 258, "im_end": base + 2, "texts": rows}
    path = pathlib.Path(__file__).resolve().parent.parent / "golden" / "text" / "tiktoken.json"
    path.write_text(json.dumps(out, ensure_ascii=True).replace('{"text"', '\n{"text"') + "\n")


main()
