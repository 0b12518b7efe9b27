"""Writes tests/golden/text/configured_tokens.json: ids and texts after transformers has loaded a model directory whose other
files add tokens to tokenizer.json's.

Usage: python tests/ref/configured_tokens_golden.py
Written with transformers 5.24.0 (PreTrainedTokenizerFast) and tokenizers 0.23.3.
"""
import json
import pathlib
import tempfile

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

golden = pathlib.Path(__file__).parent.parent / "golden" / "text" / "configured_tokens.json"
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


VOCAB = {letter: i for i, letter in enumerate(LETTERS)}
VOCAB.update({"<eot>": 256, "<s>": 257, "<in-vocabulary>": 258})
BASE = {"version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 257, **token("<s>", special=True)}, {"id": 259, **token("<think>")}],
        "normalizer": None, "pre_tokenizer": BYTE_LEVEL, "post_processor": None, "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": VOCAB, "merges": []}}
TEXTS = ["<s> a <think> b</think><eot>", "<pad> <pad><in-vocabulary><tool> <tool>x <extra><mask>", "x <think>y <s> z"]


def added(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


CASES = {
    "nothing": {},
    "decoder adds": {"tokenizer_config.json": {"added_tokens_decoder": {"260": token("</think>"), "261": token("<tool>", special=True)}}},
    "decoder adds in the order of its ids": {"tokenizer_config.json": {"added_tokens_decoder": {"300": token("<tool>"), "270": token("</think>")}}},
    "decoder overrides flags": {"tokenizer_config.json": {"added_tokens_decoder": {"259": token("<think>", lstrip=True, rstrip=True, special=True),
                                                                                   "257": token("<s>")}}},
    "a named token of the decoder is special": {"tokenizer_config.json": {"eos_token": "</think>", "added_tokens_decoder": {"260": token("</think>")}}},
    "named tokens": {"tokenizer_config.json": {"eos_token": "<eot>", "pad_token": "<pad>", "bos_token": "<s>", "add_bos_token": False,
                                               "model_max_length": 100}},
    "a named token that is there stays as it is": {"tokenizer_config.json": {"eos_token": added("<think>", lstrip=True)}},
    "named tokens with flags": {"tokenizer_config.json": {"pad_token": added("<pad>", lstrip=True), "mask_token": added("<mask>", rstrip=True)}},
    "other named tokens": {"tokenizer_config.json": {"tool_token": "<tool>", "pad_token": "<pad>"}},
    "additional special tokens": {"tokenizer_config.json": {"additional_special_tokens": ["<tool>", added("<extra>", lstrip=True)]}},
    "extra special tokens": {"tokenizer_config.json": {"extra_special_tokens": {"tool_token": "<tool>", "x_token": "<extra>"}}},
    "special_tokens_map.json": {"tokenizer_config.json": {"pad_token": "<extra>", "eos_token": "<eot>"},
                                "special_tokens_map.json": {"pad_token": token("<pad>", lstrip=True), "bos_token": "<s>"}},
    "special_tokens_map.json beside a decoder": {"tokenizer_config.json": {"added_tokens_decoder": {"260": token("</think>")}},
                                                 "special_tokens_map.json": {"pad_token": "<pad>"}},
    "added_tokens.json": {"tokenizer_config.json": {"pad_token": "<pad>"},
                          "added_tokens.json": {"<tool>": 262, "<pad>": 261, "</think>": 260}},
}


def rows(directory):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    out = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        out.append(dict(text=text, ids=ids, decoded=tokenizer.decode(ids, skip_special_tokens=False),
                        skipped=tokenizer.decode(ids, skip_special_tokens=True)))
    return out


def main():
    cases = []
    for name, files in CASES.items():
        with tempfile.TemporaryDirectory() as directory:
            for file, content in {"tokenizer.json": BASE, **files}.items():
                pathlib.Path(directory, file).write_text(json.dumps(content), encoding="utf-8")
            cases.append(dict(name=name, files=files, rows=rows(directory)))
    text = json.dumps(dict(tokenizer=BASE, cases=cases), ensure_ascii=True, separators=(",", ":"))
    golden.write_text(text.replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
