"""Writes tests/golden/text/pretokenizers.json: the words into which the tokenizers package cuts chosen texts by the patterns that names
of tokenizer.ggml.pre stand for (the table PRE of fuzz_sentencepiece.py).

  python tests/ref/pretokenizer_golden.py         (packages: tokenizers 0.23.3, sentencepiece, gguf)
"""

import json
import pathlib

from tokenizers import Tokenizer, models

from fuzz_sentencepiece import PRE
from fuzz_tokenizers import byte_level, sequence, split

TEXTS = ["It's 1234567 Words, naïve\n\n  日本語 x=1;\t end ", "WE'LL don'T I've: (½) ²³ ٣٤ 12,345.678", "我想在apple工作1314151天～ひらがなカタカナ 한국어 ㄅㄆ！…、", "    \n \n\t\tx   \r\n\r\n",
         "def f(x):\n    return x**2  # a/b\n/n", "नमस्ते ภาษาไทย e\u0301a\u0308 ʼn ῼ ǅ", "<sentinel:12>IMGIMGABCDZ $+<=>^`| _a_ ?!.,;:'\"", "🙂👩\u200d👧 a\u00a0b\u3000c", " " * 70 + "y",
         "CamelCase HTTPServer iPhone éÉé", "Türkiye'nin 1.000.000'u", "漢字々〇ー と仮名"]


def words(name, text):
    patterns, last = PRE[name][:2]
    tokenizer = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None,
        "pre_tokenizer": sequence("pre", [split(p) if isinstance(p, str) else p for p in patterns] + [byte_level(last)]),
        "model": json.loads(Tokenizer(models.BPE()).to_str())["model"]}))
    return [text[begin:end] for _, (begin, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def main():
    rows = {name: [words(name, text) for text in TEXTS] for name in PRE}
    out = pathlib.Path(__file__).resolve().parent.parent / "golden" / "text" / "pretokenizers.json"
    lines = ",\n".join("%s:%s" % (json.dumps(name), json.dumps(value, separators=(",", ":"))) for name, value in rows.items())
    out.write_text('{"texts":%s,\n"words":{\n%s}}\n' % (json.dumps(TEXTS, separators=(",", ":")), lines))


main()
