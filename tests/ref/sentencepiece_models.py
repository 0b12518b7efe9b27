"""Trains small SentencePiece BPE models and writes them as tokenizer.json and as GGUF. Packages: sentencepiece, gguf.

Used by sentencepiece_golden.py and fuzz_sentencepiece.py.
"""

import io
import pathlib
import re

import sentencepiece
from gguf import GGUFWriter

MARK = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def train(corpus, vocab_size, **options):
    """vocab_size pieces, or as many as the corpus has or needs at least."""
    try:
        return train_exactly(corpus, vocab_size, **options)
    except RuntimeError as error:
        fewer = re.search(r"too high .* value <= (\d+)", str(error))
        more = re.search(r"required_chars. \d+ vs (\d+)", str(error))
        if not fewer and not more:
            raise
        return train_exactly(corpus, int(fewer[1]) if fewer else int(more[1]) + 20, **options)


def train_exactly(corpus, vocab_size, byte_fallback=True, dummy_prefix=True, user_defined=(), coverage=0.99, split_digits=True):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe", vocab_size=vocab_size, byte_fallback=byte_fallback,
        character_coverage=coverage, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=dummy_prefix,
        user_defined_symbols=list(user_defined), allow_whitespace_only_pieces=True, split_digits=split_digits, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def kind_of(model, piece):
    if model.is_unknown(piece):
        return UNKNOWN
    if model.is_control(piece):
        return CONTROL
    if model.is_unused(piece):
        return UNUSED
    if model.is_byte(piece):
        return BYTE
    return NORMAL


def pieces(model, user_defined=()):
    out = []
    for i in range(model.get_piece_size()):
        text = model.id_to_piece(i)
        out.append((text, model.get_score(i), USER_DEFINED if text in user_defined else kind_of(model, i)))
    return out


def write_gguf(path, model, dummy_prefix=True, user_defined=()):
    listed = pieces(model, user_defined)
    writer = GGUFWriter(pathlib.Path(path), "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text, _, _ in listed])
    writer.add_token_scores([score for _, score, _ in listed])
    writer.add_token_types([kind for _, _, kind in listed])
    writer.add_bos_token_id(model.bos_id())
    writer.add_eos_token_id(model.eos_id())
    writer.add_unk_token_id(model.unk_id())
    writer.add_add_space_prefix(dummy_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def merges(model, user_defined=()):
    """Each way to cut a piece into two, by score."""
    listed = [(text, score) for text, score, kind in pieces(model, user_defined) if kind in (NORMAL, USER_DEFINED, UNUSED)]
    known = {text for text, _ in listed}
    out = []
    for text, score in sorted(listed, key=lambda row: -row[1]):
        out += [[text[:i], text[i:]] for i in range(1, len(text)) if text[:i] in known and text[i:] in known]
    return out


def tokenizer_json(model, form, dummy_prefix=True, user_defined=()):
    """form: legacy (Llama 2 as first published), metaspace (later), split (Gemma)."""
    listed = pieces(model, user_defined)
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": kind != USER_DEFINED}
             for i, (text, _, kind) in enumerate(listed) if kind in (UNKNOWN, CONTROL, USER_DEFINED)]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    prepend = [{"type": "Prepend", "prepend": MARK}] if dummy_prefix else []
    normalizer = {"type": "Sequence", "normalizers": prepend + [replace]} if form == "legacy" else replace if form == "split" else None
    pre = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first" if dummy_prefix else "never", "split": False}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    decoders = [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if dummy_prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    bos = listed[model.bos_id()][0]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"legacy": None, "metaspace": pre, "split": split}[form],
        "post_processor": {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [model.bos_id()], "tokens": [bos]}}},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": None, "unk_token": listed[model.unk_id()][0], "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": any(kind == BYTE for _, _, kind in listed),
                  "ignore_merges": False, "vocab": {text: i for i, (text, _, _) in enumerate(listed)}, "merges": merges(model, user_defined)}}
