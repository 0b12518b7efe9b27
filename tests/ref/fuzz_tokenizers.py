"""Compares `r1 tokenize` with the `tokenizers` package on random tokenizers and random texts.

Usage: python tests/ref/fuzz_tokenizers.py [--r1 build/r1] [--strings 20000] [--seed 1] [--every-character] [--keep DIR]

Each round makes one tokenizer.json (vocabulary, merges, normalizer, pre-tokenizer, added tokens with all flags,
post-processor), gives both programs the same texts and compares: ids without and with the post-processor's tokens, ids
with special tokens read as text, and the decoded text with and without special tokens, of those ids and of random ones.
Every round also gives r1 a few files that it has to refuse in one line. --every-character puts every Unicode character
through the normalizer, the classes of the patterns, single_word, lstrip and rstrip.

A difference is reduced and printed; its tokenizer stays in --keep. The exit status is 1 if there was one.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from random_texts import EVERY_CHARACTER, WORDS, random_character, random_text

# ---------------------------------------------------------------- patterns

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
R1_TRAINER = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK_V3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
               r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
               r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
DEEPSEEK_LLM = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"]
OTHERS = [r"\w+", r"\W+", r"[\w']+", r"[^\w]", r"\b", r"\b\w", r"\B.", r"\d+", r"\s", r"\S+", r"[\s\d]", r"\h", r"^.", r".$",
          r"^\s+|\s+$", r"(?i:the|kelvin|'[a-z])", r"\p{Lu}", r"\p{Ll}+", r"\p{M}", r"\p{Han}+", "[\U0001f300-\U0001faff]+", r"[\p{P}\p{S}]", r"(?<=\s)\S", r"(?<!a)b",
          r"[a-f]{2,3}?", r"(?:ab|a)(?=\s|$)", r"\x{4e2d}|\u0041", r".", r"a*", r"(a|b)c", r"\p{Z}", r"\p{C}", r"\p{Lt}|\p{Lm}|\p{Nl}"]


def split(pattern, behavior="Isolated", invert=False, regex=True):
    return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": invert}


def byte_level(use_regex, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def sequence(kind, parts):
    names = {"pre": "pretokenizers", "norm": "normalizers", "post": "processors", "dec": "decoders"}
    return {"type": "Sequence", names[kind]: parts}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def random_pre_tokenizer(rng):
    spaced = rng.random() < 0.2
    kind = rng.randrange(8)
    if kind == 0:
        return byte_level(True, spaced)
    if kind == 1:
        return sequence("pre", [byte_level(rng.random() < 0.5, spaced)])
    if kind == 2:
        return sequence("pre", [split(p) for p in DEEPSEEK_V3] + [byte_level(False)])
    if kind == 3:
        return sequence("pre", [split(p) for p in DEEPSEEK_LLM[:4]] + [{"type": "Digits", "individual_digits": True}, byte_level(False)])
    if kind == 4:
        return sequence("pre", [{"type": "Digits", "individual_digits": rng.random() < 0.5}, byte_level(True, spaced)])
    if kind == 5:
        return sequence("pre", [split(rng.choice([QWEN2, LLAMA3, O200K, R1_TRAINER])), byte_level(False, spaced)])
    parts = []
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.2:
            parts.append(split(rng.choice(["a", " ", " t", "\n", "é", "<", ".", "中", "  "]), rng.choice(BEHAVIORS), rng.random() < 0.3, False))
        elif rng.random() < 0.15:
            parts.append({"type": "Digits", "individual_digits": rng.random() < 0.5})
        else:
            parts.append(split(rng.choice(OTHERS + [GPT2, QWEN2]), rng.choice(BEHAVIORS), rng.random() < 0.3))
    return sequence("pre", parts + [byte_level(rng.random() < 0.5, spaced)])


# ---------------------------------------------------------------- tokenizers

LETTER_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def trained_model(rng):
    """A vocabulary and merges of byte-level BPE, learnt from a few random texts."""
    corpus = [random_text(rng, WORDS) for _ in range(rng.choice([5, 30, 80]))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rng.random() < 0.8)
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=256 + rng.choice([0, 20, 120, 500]), initial_alphabet=LETTER_ALPHABET, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    return list(model["vocab"]), [tuple(m) for m in model["merges"]]


def random_model(rng):
    tokens, merges = trained_model(rng)
    if rng.random() < 0.3:
        rng.shuffle(merges)
    if rng.random() < 0.3:  # tokens that merging does not make
        merges = [m for m in merges if rng.random() < 0.8]
    known = set(tokens)
    for _ in range(rng.choice([0, 0, 10, 60])):  # merges of any two tokens
        left, right = rng.choice(tokens), rng.choice(tokens)
        if len(left + right) <= 12:
            if left + right not in known:
                known.add(left + right)
                tokens.append(left + right)
            merges.insert(rng.randrange(len(merges) + 1), (left, right))
    missing = set()
    if rng.random() < 0.3:  # bytes without a token
        missing = set(rng.sample(LETTER_ALPHABET, rng.choice([1, 21, 100, 250])))
        tokens = [t for t in tokens if t not in missing]
        merges = [m for m in merges if not missing & set(m)]
    extra = [t for t in ["<unk>", "<s>", "</s>", "<|im_end|>", "<｜end｜>", "a b", "the"] if rng.random() < 0.3 and t not in known]
    model = {"type": "BPE", "dropout": rng.choice([None, None, 0.0]), "unk_token": None, "continuing_subword_prefix": rng.choice([None, ""]),
             "end_of_word_suffix": rng.choice([None, ""]), "fuse_unk": rng.random() < 0.3, "byte_fallback": False,
             "ignore_merges": rng.random() < 0.3}
    if missing and rng.random() < 0.5:
        model["unk_token"] = "<unk>"
        extra = sorted(set(extra) | {"<unk>"})
    if missing and rng.random() < 0.3:
        model["byte_fallback"] = True
        extra += ["<0x%02X>" % b for b in range(256) if rng.random() < rng.choice([0.5, 1.0])]
    tokens += extra
    if rng.random() < 0.3:
        rng.shuffle(tokens)
    gap = rng.choice([0, 0, 0, 0.02])
    vocab, next_id = {}, 0
    for token in tokens:
        vocab[token] = next_id
        next_id += 1 if rng.random() >= gap else rng.randint(2, 4)
    model["vocab"] = vocab
    if rng.random() < 0.3 and not any(" " in part for merge in merges for part in merge):
        model["merges"] = ["%s %s" % m for m in merges]
    else:
        model["merges"] = [list(m) for m in merges]
    return model


CONTENTS = ["<think>", "</think>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im", "<pad>", "<mask>", "<｜User｜>", "<w>", "ab", "abc", "bc",
            "b", " ", "  ", "\n", "\n\n", "\t", " x", "x ", "the", " the", "Ġthe", "é", "e\u0301", "caf\u00e9", "cafe\u0301", "\u0439<", "中", "中文", "1", "12", "²",
            "\u200d", "\u0301", "ʼ", "\U0001f469\u200d\U0001f469", "\U00011de0", "_", "a_b", "_a", "'s", "<é>", "Ã©", "\u00a0", "\u2003", "\ufb01", "ſ", "ﬁ x", "\U00010d40", "<<", "<<<", "aa", "aaa",
            "\u1100\u1161", "가", "K", "K", "\x00", "\ufffd"]


def random_added(rng, model, normal_form):
    vocab = list(model["vocab"])
    contents = rng.sample(CONTENTS, rng.choice([0, 1, 3, 6, 12]))
    contents += ["".join(random_character(rng) for _ in range(rng.randint(1, 4))) for _ in range(rng.choice([0, 0, 2]))]
    contents += rng.sample(vocab, min(len(vocab), rng.choice([0, 0, 1, 3])))
    if rng.random() < 0.05:
        contents.append("")
    rng.shuffle(contents)
    if contents and rng.random() < 0.1:
        contents.append(rng.choice(contents))  # again, with other flags
    added, normal = [], {}
    wild = rng.random()
    for content in contents:
        token = {"id": 0, "content": content, "special": rng.random() < 0.4, "normalized": rng.random() < 0.4}
        for flag in ("single_word", "lstrip", "rstrip"):
            token[flag] = rng.random() < 0.3 * wild
        # Which of two tokens counts that are the same when normalised, is chance in the package.
        key = normal_form(content)
        if token["normalized"] and normal.setdefault(key, content) != content:
            token["normalized"] = False
        added.append(token)
    for token, known in zip(added, assigned_ids(added, model["vocab"])):
        token["id"] = known
    return added


def assigned_ids(added, vocab):
    ids, next_id = {}, len(vocab)
    for token in added:
        content = token["content"]
        if content and content not in ids:
            ids[content] = vocab.get(content, next_id)
            next_id += content not in vocab
    return [ids.get(t["content"], 0) for t in added]


def random_post_processor(rng, added):
    kind = rng.randrange(4)
    trim = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": rng.random() < 0.5, "use_regex": True}
    if kind == 0 or not added:
        return rng.choice([None, trim])
    named = [t for t in added if t["content"]][:3]
    if not named:
        return None

    def template():
        parts = [{"SpecialToken": {"id": rng.choice(named)["content"], "type_id": 0}} for _ in range(rng.randrange(3))]
        parts.insert(rng.randrange(len(parts) + 1), {"Sequence": {"id": "A", "type_id": 0}})
        pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
        known = {t["content"]: {"id": t["content"], "ids": [t["id"]] * rng.choice([1, 1, 2]), "tokens": [t["content"]] * 1} for t in named}
        for entry in known.values():
            entry["tokens"] = entry["tokens"] * len(entry["ids"])
        return {"type": "TemplateProcessing", "single": parts, "pair": pair, "special_tokens": known}
    if kind == 1:
        return template()
    return sequence("post", rng.sample([trim, template()], 2))


def random_tokenizer(rng):
    nfc = rng.random() < 0.4
    model = random_model(rng)
    added = random_added(rng, model, normalizers.NFC().normalize_str if nfc else str)
    normalizer = rng.choice([{"type": "NFC"}, sequence("norm", [{"type": "NFC"}])]) if nfc else rng.choice([None, sequence("norm", [])])
    decoder = byte_level(True, True)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": random_pre_tokenizer(rng), "post_processor": random_post_processor(rng, added),
            "decoder": rng.choice([decoder, sequence("dec", [decoder])]), "model": model}


# ---------------------------------------------------------------- vocabularies of characters

BYTES = ["<0x%02X>" % b for b in range(256)]
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
MARK = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
UNMARK = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}


def character_model(rng):
    corpus = [random_text(rng, WORDS) for _ in range(rng.choice([5, 30, 80]))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=rng.random() < 0.8)
    specials = ["<unk>", "<s>", "</s>"] + BYTES
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=len(specials) + rng.choice([40, 200, 600]), special_tokens=specials, limit_alphabet=rng.choice([20, 100, 1000]), show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    tokens, merges = list(model["vocab"]), [tuple(m) for m in model["merges"]]
    missing = set()
    kind = rng.random()
    if kind < 0.2:
        missing = set(BYTES)
    elif kind < 0.4:
        missing = set(rng.sample(BYTES, rng.choice([1, 5, 60])))
    tokens = [t for t in tokens if t not in missing]
    if rng.random() < 0.2:
        rng.shuffle(merges)
    if rng.random() < 0.2:
        merges = [m for m in merges if rng.random() < 0.8]
    model = {"type": "BPE", "dropout": None, "unk_token": rng.choice(["<unk>", "<unk>", None]), "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": rng.random() < 0.7, "byte_fallback": rng.random() < 0.8, "ignore_merges": rng.random() < 0.2,
             "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}
    if " " not in "".join(a + b for a, b in merges) and rng.random() < 0.3:
        model["merges"] = ["%s %s" % m for m in merges]
    return model


def random_character_tokenizer(rng):
    """As Llama 2, Mistral and Gemma have it, and mixtures."""
    model = character_model(rng)
    kind = rng.randrange(5)
    normalizer, pre = None, None
    if kind == 0:
        normalizer = sequence("norm", [PREPEND, MARK])
    elif kind == 1:
        pre = metaspace(rng.choice(["first", "always", "never"]), rng.random() < 0.5)
    elif kind == 2:
        normalizer, pre = MARK, split(" ", "MergedWithPrevious", regex=False)
    elif kind == 3:
        pre = sequence("pre", [split(rng.choice([GPT2, QWEN2, r"\d", r"\s+"]), rng.choice(BEHAVIORS)), metaspace(rng.choice(["first", "always", "never"]), rng.random() < 0.5),
                               {"type": "Digits", "individual_digits": rng.random() < 0.5}][rng.randrange(2):])
    else:
        steps = [PREPEND, MARK, {"type": "NFC"}, {"type": "Replace", "pattern": {"String": rng.choice(["a", "the", "\n", "\u2581\u2581"])}, "content": rng.choice(["", "b", "\u2581"])}]
        normalizer = sequence("norm", rng.sample(steps, rng.randint(1, 4)))
        pre = rng.choice([None, metaspace("always", True), metaspace("never", False)])
    if normalizer:
        shape = Tokenizer.from_str(json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": None,
                                               "post_processor": None, "decoder": None, "model": {**model, "merges": []}}))
        normal = shape.normalizer.normalize_str
    else:
        normal = str
    added = [{"id": i, "content": t, "special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
             for i, t in enumerate(["<unk>", "<s>", "</s>"])]
    more = [t for t in random_added(rng, model, normal) if t["content"] not in ("<unk>", "<s>", "</s>")]
    added += [{**t, "id": i} for t, i in zip(more, assigned_ids(added + more, model["vocab"])[3:])]
    decoder = rng.choice([sequence("dec", [UNMARK, {"type": "ByteFallback"}, {"type": "Fuse"}, STRIP]),
                          sequence("dec", [UNMARK, {"type": "ByteFallback"}, {"type": "Fuse"}]), metaspace(rng.choice(["first", "always", "never"]), True),
                          sequence("dec", [metaspace("always", True), {"type": "ByteFallback"}]),
                          sequence("dec", [UNMARK, {"type": "Fuse"}, {**STRIP, "start": rng.choice([0, 2])}])])
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": random_post_processor(rng, added), "decoder": decoder, "model": model}


TEMPLATE = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}}
REFUSED = [("normalizer", {"type": "Lowercase"}), ("normalizer", sequence("norm", [{"type": "NFC"}, {"type": "Strip", "strip_left": True, "strip_right": True}])),
           ("normalizer", {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}), ("normalizer", {"type": "Precompiled", "precompiled_charsmap": ""}),
           ("pre_tokenizer", {"type": "Whitespace"}), ("pre_tokenizer", sequence("pre", [{"type": "Punctuation", "behavior": "Isolated"}, byte_level(True)])),
           ("pre_tokenizer", sequence("pre", [split(r"(?i:st)"), byte_level(True)])), ("pre_tokenizer", sequence("pre", [split(r"(?i:é)"), byte_level(True)])),
           ("pre_tokenizer", sequence("pre", [split(r"[[:alpha:]]"), byte_level(True)])), ("pre_tokenizer", None),
           ("pre_tokenizer", sequence("pre", [byte_level(True), byte_level(True)])), ("pre_tokenizer", metaspace("always", True)),
           ("decoder", {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True}), ("decoder", sequence("dec", [])),
           ("post_processor", {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True}),
           ("post_processor", sequence("post", [TEMPLATE, TEMPLATE])), ("pre_tokenizer", sequence("pre", [split(r"\p{Greek}"), byte_level(True)])),
           ("pre_tokenizer", sequence("pre", [split("[\U0001ccf3-\U0001fae9]"), byte_level(True)])), ("model", {"dropout": 0.5}), ("model", {"end_of_word_suffix": "</w>"}), ("model", {"continuing_subword_prefix": "##"})]


REFUSED_CHARACTERS = [("decoder", None), ("decoder", byte_level(True)), ("decoder", sequence("dec", [STRIP, {"type": "Fuse"}])), ("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": True}),
                      ("decoder", sequence("dec", [{"type": "Fuse"}, {**STRIP, "stop": 1}])), ("decoder", sequence("dec", [{"type": "ByteFallback"}, UNMARK])),
                      ("pre_tokenizer", {"type": "WhitespaceSplit"}), ("pre_tokenizer", sequence("pre", [metaspace("first", True), metaspace("first", True)])),
                      ("pre_tokenizer", byte_level(True)), ("pre_tokenizer", metaspace("never", True) | {"replacement": "ab"}), ("normalizer", {"type": "NFKC"}),
                      ("model", {"type": "Unigram"}), ("model", {"merges": [["a", "no such piece"]]}), ("model", {"vocab": {"a": -1}}), ("model", {"unk_token": "nowhere", "byte_fallback": False})]


# ---------------------------------------------------------------- comparing


class R1:
    """Runs `r1 tokenize` on one tokenizer.json; every answer is a list with one value a row."""

    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        self.path = self.folder / "tokenizer.json"

    def use(self, description):
        self.path.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")

    def run(self, rows, *flags):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        result = subprocess.run([self.program, "tokenize", str(self.path), "--input", "-", *flags],
                                input=text.encode("utf-8", "surrogatepass"), capture_output=True)
        if result.returncode != 0 or not result.stdout:
            raise RuntimeError("r1 ended with status %d: %s" % (result.returncode, (result.stderr or result.stdout)[:600].decode("utf-8", "replace")))
        return [json.loads(line) for line in result.stdout.decode().split("\n") if line]

    def encode(self, texts, *flags):
        return [row["tokens"] for row in self.run([{"text": t} for t in texts], *flags)]

    def decode(self, ids, *flags):
        return [row["text"] for row in self.run([{"tokens": t} for t in ids], "--decode", *flags)]

    def refusal(self):
        result = subprocess.run([self.program, "tokenize", str(self.path), "--input", "-"], input=b"", capture_output=True)
        return result.returncode, result.stderr.decode("utf-8", "replace")


@contextlib.contextmanager
def silent():
    """A panic of the package writes to descriptor 2 itself."""
    saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nothing)


class Package:
    """The same answers from the tokenizers package. A text that it panics on has the answer None."""

    def __init__(self, description):
        self.tokenizer = Tokenizer.from_str(json.dumps(description))

    def encode(self, texts, *flags):
        self.tokenizer.encode_special_tokens = "--split-special-tokens" in flags
        post = "--add-special-tokens" in flags
        with silent():
            try:
                return [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=post)]
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
            return [self.encode_one(text, post) for text in texts]

    def encode_one(self, text, post):
        try:
            return self.tokenizer.encode(text, add_special_tokens=post).ids
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            return None

    def decode(self, ids, *flags):
        return self.tokenizer.decode_batch(ids, skip_special_tokens="--skip-special-tokens" in flags)


ENCODE_FLAGS = [(), ("--add-special-tokens",), ("--split-special-tokens",)]
DECODE_FLAGS = [(), ("--skip-special-tokens",)]


def differences(r1, package, kind, inputs, flags):
    """Pairs (input, r1's answer, the package's)."""
    ours, theirs = getattr(r1, kind)(inputs, *flags), getattr(package, kind)(inputs, *flags)
    return [(i, a, b) for i, a, b in zip(inputs, ours, theirs, strict=True) if a != b and b is not None]


def reduced(r1, package, kind, value, flags):
    """A shorter input that still differs."""
    size = max(1, len(value) // 2)
    while True:
        shorter = [value[:i] + value[i + size:] for i in range(0, len(value), size) if len(value) > size]
        hits = differences(r1, package, kind, shorter, flags) if shorter else []
        if hits:
            value = hits[0][0]
            size = max(1, min(size, len(value) // 2))
        elif size == 1:
            return differences(r1, package, kind, [value], flags)[0]
        else:
            size //= 2


def smaller_description(r1, description, kind, value, flags):
    """Leaves out added tokens and merges that the difference does not need."""
    def differs(candidate):
        try:
            package = Package(candidate)
            r1.use(candidate)
            return bool(differences(r1, package, kind, [value], flags))
        except Exception:
            return False
    for field in ("added_tokens", "merges"):
        holder = (lambda d: d) if field == "added_tokens" else (lambda d: d["model"])
        size = max(1, len(holder(description)[field]) // 2)
        while holder(description)[field]:
            at = 0
            while at < len(holder(description)[field]):
                candidate = json.loads(json.dumps(description))
                del holder(candidate)[field][at:at + size]
                if differs(candidate):
                    description = candidate
                else:
                    at += size
            if size == 1:
                break
            size //= 2
    r1.use(description)
    return description


def report(r1, package, description, kind, value, flags, keep, name):
    value, ours, theirs = reduced(r1, package, kind, value, flags)
    description = smaller_description(r1, description, kind, value, flags)
    value, ours, theirs = reduced(r1, Package(description), kind, value, flags)
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / (name + ".json")
    path.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
    print("DIFFERENCE: r1 tokenize %s %s" % (path, " ".join((("--decode",) if kind == "decode" else ()) + flags)))
    print("  input      %s" % ascii(value))
    print("  r1         %s" % ascii(ours))
    print("  tokenizers %s" % ascii(theirs))
    print("  normalizer %s, pre_tokenizer %s" % (ascii(description["normalizer"]), ascii(description["pre_tokenizer"])))
    print("  added      %s" % ascii(description["added_tokens"]), flush=True)


def compare(r1, description, texts, random_ids, keep, name):
    """The number of differing answers; the first of each kind is printed."""
    package = Package(description)
    r1.use(description)
    bad = 0
    ids = []
    for flags in ENCODE_FLAGS:
        found = differences(r1, package, "encode", texts, flags)
        if found:
            report(r1, package, description, "encode", found[0][0], flags, keep, name + "-encode" + "".join(flags))
            r1.use(description)
        bad += len(found)
        if not flags:
            ids = [i for i in package.encode(texts) if i is not None]
    for flags in DECODE_FLAGS:
        found = differences(r1, package, "decode", ids + random_ids, flags)
        if found:
            report(r1, package, description, "decode", found[0][0], flags, keep, name + "-decode" + "".join(flags))
            r1.use(description)
        bad += len(found)
    return bad


def fuzz(r1, strings, seed, keep):
    bad = done = rounds = 0
    while done < strings:
        rng = random.Random("%d/%d" % (seed, rounds))
        description = random_character_tokenizer(rng) if rounds % 2 else random_tokenizer(rng)
        contents = [t["content"] for t in description["added_tokens"] if t["content"]]
        texts = [random_text(rng, contents) for _ in range(min(500, strings - done))]
        known = list(description["model"]["vocab"].values()) + [t["id"] for t in description["added_tokens"]]
        random_ids = [[rng.choice(known) for _ in range(rng.randint(1, 12))] for _ in range(len(texts) // 4 + 1)]
        bad += compare(r1, description, texts, random_ids, keep, "seed%d-round%d" % (seed, rounds))
        bad += check_refusal(r1, description, (REFUSED_CHARACTERS if rounds % 2 else REFUSED)[rounds // 2 % len(REFUSED_CHARACTERS if rounds % 2 else REFUSED)])
        done += len(texts)
        rounds += 1
    return bad, done, rounds


def check_refusal(r1, description, change):
    field, value = change
    r1.use({**description, field: {**description["model"], **value} if field == "model" else value})
    status, message = r1.refusal()
    if status == 2 and message.count("\n") == 1 and str(r1.path) in message:
        return 0
    print("NOT REFUSED: %s = %s: status %d, %s" % (field, ascii(value), status, ascii(message)), flush=True)
    return 1


def every_character(r1, keep):
    """Every character, in small groups, through the tables of Unicode that the two programs have."""
    vocab = {letter: i for i, letter in enumerate(LETTER_ALPHABET)}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
             "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": byte_level(False),
            "post_processor": None, "decoder": byte_level(True), "model": model}

    def removing(pattern):
        return {**base, "pre_tokenizer": sequence("pre", [split(pattern, "Removed"), byte_level(False)])}

    def added(**flags):
        token = {"id": 256, "content": "<w>", "special": False, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
        return {**base, "added_tokens": [{**token, **flags}]}
    cases = [("nfc", {**base, "normalizer": {"type": "NFC"}}, "%s\u0301\u0334%s\u0323 "),
             ("single-word", added(single_word=True), "%s<w>%s"), ("lstrip", added(lstrip=True), "x%s<w>"), ("rstrip", added(rstrip=True), "<w>%sx"),
             ("digits", {**base, "pre_tokenizer": sequence("pre", [{"type": "Digits", "individual_digits": True}, split("^.", "Removed"), byte_level(False)])}, "a%s")]
    for i, pattern in enumerate([r"\p{L}", r"\p{N}", r"\p{M}", r"\p{P}", r"\p{S}", r"\s", r"\w", r"[\w]", r"\W", r"\d", r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}", r"\p{Han}", r"\p{Nd}", r"\p{Cn}", r"\p{C}", r"\p{Z}", r"\p{Sm}", r"\p{Mn}", "[\u0800-\u4e00\uac00-\ud7ff]", "[\U0001f300-\U0001faff]",
                                 r"[^\s\p{L}\p{N}]", r"(?i:[a-z]+)", r"\b."]):
        cases.append(("class%d" % i, removing(pattern), "%s"))
    bad = 0
    groups = [EVERY_CHARACTER[i:i + 64] for i in range(0, len(EVERY_CHARACTER), 64)]
    for name, description, form in cases:
        # A pattern with one character a text would be slow; anchors make each group's characters tell.
        per_text = [" ".join(form.replace("%s", c) for c in group) for group in groups]
        package = Package(description)
        r1.use(description)
        found = differences(r1, package, "encode", per_text, ())
        if found:
            report(r1, package, description, "encode", found[0][0], (), keep, "every-character-" + name)
        bad += len(found)
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-character", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("build/fuzz-tokenizers"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        r1 = R1(options.r1, folder)
        bad = every_character(r1, options.keep) if options.every_character else 0
        if options.every_character:
            print("every character of Unicode: %d groups of 64 differ" % bad, flush=True)
        wrong, strings, rounds = fuzz(r1, options.strings, options.seed, options.keep)
    print("%d strings, %d random tokenizers, seed %d: %d differences" % (strings, rounds, options.seed, wrong))
    return 1 if bad + wrong else 0


if __name__ == "__main__":
    sys.exit(main())
