"""Writes tests/golden/text/sentencepiece.json and tests/golden/gguf/sentencepiece.gguf: small SentencePiece BPE vocabularies, as
tokenizer.json in three forms and as GGUF, with the ids that the packages tokenizers and sentencepiece give chosen texts.

  python tests/ref/sentencepiece_golden.py        (packages: tokenizers 0.23.3, sentencepiece 0.2.3, gguf 0.19; llama-cpp-python 0.3.36
                                                   checks the GGUF file if it is installed)
"""

import json
import pathlib

from tokenizers import Tokenizer

import sentencepiece_models as sp

golden = pathlib.Path(__file__).resolve().parent.parent / "golden"

CORPUS = ["The capital of France is Paris, and the capital of Spain is Madrid.", "the cat and the dog, then the other one and another",
          "Hello world, hello again; we don't know what it's about.", "1 + 2 = 3 and 12 * 3 = 36, (a + b) != c, 3.14159",
          "def f(x):", "    return x ** 2 + f(x - 1)", "for (int i = 0; i < n; ++i) { sum += a[i]; }", "naïve café, Äpfel und Öl", "中文字符 和 中文",
          "the the the and and and of of to to in in is is that that", "        deep    spaces  in   a    line"] * 4
TEXTS = ["", " ", "  ", "a", "Hello world", " Hello world", "Hello  world   again\n\nnext\r\n\ttab  ", "The capital of France?", "<s>[INST] hi [/INST] hello </s><s>[INST] x",
         "</s>", "a<s>b </s> c", "<unk> <unk>", "<tool>call</tool><tool> x", "naïve café cafe\u0301", "中文字符 ひらがな 한국어 ไทย", "🙂👩\u200d👩\u200d👧 é🙂", "x\u00a0y\u2003z\u3000",
         "\u2581 already \u2581\u2581marked\u2581", "<0x41> <0x0A>\n", "\x00\x01\x7f\x1b[0m", "def f(x):\n    return x ** 2\n\n\tprint(f(10))\n", "12345 3.14 -7e10 ²³",
         "the" * 40, "-" * 50, " " * 33 + "x", "\ufffd\ufeff", "aaaaaaaaaaaaaaaaaaaaaaaaa\u00e9" * 3, "don't <s", "<s>", "[INST]<s>"]


def cases(tokenizer):
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        as_text = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        rows.append(dict(text=text, ids=ids, post=tokenizer.encode(text).ids, as_text=as_text, decoded=tokenizer.decode(ids, skip_special_tokens=False),
                         skipped=tokenizer.decode(ids, skip_special_tokens=True)))
    ids = list(range(tokenizer.get_vocab_size()))
    runs = [ids[i:i + 7] for i in range(0, len(ids), 7)] + [[3 + b for b in run] for run in
            ([0xE4, 0xB8, 0xAD], [0x41, 0xE4, 0xB8], [0xE4, 0xB8, 0xAD, 0xFF], [0x20, 0x20, 0x41], [0xC3], [0x80, 0x80])]
    return dict(texts=rows, runs=[dict(ids=run, decoded=tokenizer.decode(run, skip_special_tokens=False)) for run in runs])


def lines(value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace('{"text"', '\n{"text"').replace('{"ids"', '\n{"ids"') + "\n"


def main():
    model = sp.train(CORPUS, 620, user_defined=["<tool>"])
    unmarked = sp.train(CORPUS, 330, byte_fallback=False, dummy_prefix=False)
    variants = {"legacy": sp.tokenizer_json(model, "legacy", user_defined=["<tool>"]),
                "metaspace": sp.tokenizer_json(model, "metaspace", user_defined=["<tool>"]),
                "split": sp.tokenizer_json(unmarked, "split", dummy_prefix=False)}
    out = {name: dict(tokenizer=value, **cases(Tokenizer.from_str(json.dumps(value)))) for name, value in variants.items()}
    (golden / "text" / "sentencepiece.json").write_text(lines(out))

    # Without a user-defined token, after which the packages differ in where a space is put.
    plain = sp.train(CORPUS, 600)
    path = golden / "gguf" / "sentencepiece.gguf"
    sp.write_gguf(path, plain)
    rows = [dict(text=text, ids=plain.encode(text)) for text in TEXTS]
    try:
        from llama_cpp import Llama
        peer = Llama(str(path), vocab_only=True, verbose=False)
        for row in rows:
            assert peer.tokenize(row["text"].encode(), add_bos=False, special=False) == row["ids"], row["text"]
            row["special"] = peer.tokenize(row["text"].encode(), add_bos=False, special=True)
    except ImportError:
        print("llama-cpp-python is not installed: the fixture keeps no ids of it")
    (golden / "gguf" / "sentencepiece_ids.json").write_text(lines(rows))


main()
