"""Writes tests/golden/text/added_tokens.json: how the tokenizers package numbers, finds and decodes added tokens, and what it does
with a byte-level vocabulary that lacks bytes.

Usage: python tests/ref/added_tokens_golden.py
Written with tokenizers 0.23.3. tests/ref/fuzz_tokenizers.py compares far more; these are the cases that a reader wants to see.
"""
import json
import pathlib

from tokenizers import Tokenizer, pre_tokenizers

golden = pathlib.Path(__file__).parent.parent / "golden" / "text" / "added_tokens.json"
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NFC = {"type": "NFC"}


def description(added=(), vocab=None, normalizer=None, **model):
    vocab = vocab or {letter: i for i, letter in enumerate(LETTERS)}
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": normalizer, "pre_tokenizer": BYTE_LEVEL,
            "post_processor": None, "decoder": BYTE_LEVEL,
            "added_tokens": [{"id": 0, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **t}
                             for t in added],
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": [], **model}}


def without(*letters, **more):
    return {**{letter: i for i, letter in enumerate(LETTERS) if letter not in letters}, **more}


def token(content, **flags):
    return {"content": content, **flags}


STRIPPED = ["<a> ", "<a>  x", "<a>\n\t.", "<a> \n \ny", " <a> "]
# SmolLM2's kind: 21 bytes have no token, among them the lead bytes of Thai and of musical symbols, and control characters.
LACKING = {letter for letter in LETTERS if ord(letter) in {*range(0x100, 0x10C), 0xE0, 0xE1, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xC0, 0xC1}}
FALLBACK = without("a", "Ġ", "b", **{"<unk>": 300, "<0x61>": 301, "<0xC4>": 302, "<0xA0>": 303})

CASES = {
    "longest first": (description([token("<|im"), token("<|im_end|>"), token("im_end")]), ["<|im_end|><|im_en", "x<|imim_end"]),
    "single_word": (description([token("<w>", single_word=True)]),
                    ["<w>", "a<w>", "<w>1", "_<w>", "é<w>", "²<w>", "\u0301<w>", "\u200d<w>", "<w>\u200c", "中<w> <w>", "\U00010d4a<w>", "\U00016ea0<w>", "-<w>-"]),
    "lstrip": (description([token("<l>", lstrip=True)]), ["x \u00a0\u2003\u3000<l> y", "x\u180e<l>", "x\u200b<l>", "x\x1c<l>", " \x85\u2028<l>"]),
    "rstrip": (description([token("<r>", rstrip=True)]), ["x <r> \u00a0\u2003\u3000y", "<r>\u180e", "<r>\ufeff", "<r> <r> "]),
    "white space that was taken is searched": (description([token("<a>", rstrip=True), token(" "), token("\n")]), STRIPPED),
    "white space that was taken is searched by rstrip tokens": (description([token("<a>", rstrip=True), token(" ", rstrip=True), token("\n", rstrip=True)]), STRIPPED),
    "a discarded match hides what begins inside it": (description([token("abc", single_word=True), token("b")]), ["abcd", "abc", "xb"]),
    "normalized": (description([token("e\u0301", normalized=True), token("\u0439<", normalized=False)], normalizer=NFC),
                   ["e\u0301", "\u00e9", "\u0438\u0306<", "\u0439<"]),
    "normalized and special is not skipped": (description([token("e\u0301", normalized=True, special=True)], normalizer=NFC), ["e\u0301 \u00e9"]),
    "again without normalized": (description([token("e\u0301", normalized=True), token("e\u0301")], normalizer=NFC), ["e\u0301 \u00e9"]),
    "again without special": (description([token("ab", special=True), token("ab", lstrip=True)]), ["x abc"]),
    "the file's ids do not count": (description([token("<a>", id=900), token("<b>", id=500), token("a", id=7)]), ["<a><b>a"]),
    "empty content": (description([token("", special=True), token("<q>")]), ["a<q>"]),
    "in the vocabulary": (description([token("zz"), token("q1")], without("a", zz=300)), ["q1zz", "zaz"]),
    "an id taken by the vocabulary": (description([token("q1"), token("q2"), token("zz")], without("a", "b", zz=256, ww=257)), ["q1q2zz", "zab"]),
    "decoded as letters of the byte alphabet": (description([token("<é>"), token("Ġq"), token("<\u0145>"), token("Ã©")]), ["<é>Ġq<\u0145>Ã©"]),
    "unicode 9 normalisation": (description(normalizer=NFC), ["a\u1abf\u0334", "a\u1dfa\u0334", "\U00011935\U00011930", "a\u0345\u0334", "\u1100\u1161\u11a8"]),
    "bytes without a token": (description([], without(*LACKING)), ["ab\x01c", "\u0e01\u0e02", "\U0001f600", "\U0001d11e!", "plain"]),
    "bytes without a token, unk": (description([], without("a", "Ġ", **{"<unk>": 300}), unk_token="<unk>"), ["aab  a aXa"]),
    "bytes without a token, fused unk": (description([], without("a", "Ġ", **{"<unk>": 300}), unk_token="<unk>", fuse_unk=True), ["aab  a aXa"]),
    "byte fallback": (description([], FALLBACK, byte_fallback=True), ["aab  bXa"]),
    "byte fallback and unk": (description([], FALLBACK, byte_fallback=True, unk_token="<unk>"), ["abbab bbc"]),
    "byte fallback and fused unk": (description([], FALLBACK, byte_fallback=True, unk_token="<unk>", fuse_unk=True), ["abbab bbc"]),
}


def main():
    cases = []
    for name, (file, texts) in CASES.items():
        tokenizer = Tokenizer.from_str(json.dumps(file))
        rows = []
        for text in texts:
            tokenizer.encode_special_tokens = False
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            tokenizer.encode_special_tokens = True
            rows.append(dict(text=text, ids=ids, split=tokenizer.encode(text, add_special_tokens=False).ids,
                             decoded=tokenizer.decode(ids, skip_special_tokens=False), skipped=tokenizer.decode(ids, skip_special_tokens=True)))
        changes = {k: v for k, v in file.items() if k in ("added_tokens", "normalizer")}
        model = {k: v for k, v in file["model"].items() if v != description()["model"].get(k)}
        cases.append(dict(name=name, changes=changes, model=model, rows=rows))
    text = json.dumps(dict(tokenizer=description(), cases=cases), ensure_ascii=True, separators=(",", ":"))
    golden.write_text(text.replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
