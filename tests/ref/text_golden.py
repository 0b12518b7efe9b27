"""Writes tests/golden/text/{behaviors,published,trained}.json: what Hugging Face's tokenizers makes of chosen texts.

Usage: python tests/ref/text_golden.py [DATA]     (DATA: the folder with tokenizers/, default ../shared/data)
Written with tokenizers 0.23.3. Added tokens here have a
character outside the byte alphabet: others the library decodes as if their characters were byte letters, which we do
not. trained_tokenizer.json is our trainer's output (see bpe_trainer_test.cc) and is only read.
"""
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

root = pathlib.Path(__file__).parent.parent
data = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else root.parent.parent / "shared" / "data")
golden = root / "golden" / "text"

TEXTS = [
    "", " ", "a", "Hello, world!", "Hello  world   again\n\nnext\r\n\ttab  ", "don't DON'T we'Ll I've it'S 'ſ 'K",
    "12345 3.14 -7e10 ²³ Ⅷ ٣٤ 𝟗", "naïve café cafe\u0302\u0301 caf\u1ebf \u0438\u0306 \u0439 \u0456\u0308 \u0457x e\u0301 \u1e9b\u0323 \u212b Å ﬁ ß", "中文字符 ひらがな カタカナ 한국어 \u1100\u1161\u11a8",
    "🙂👩‍👩‍👧🏳️‍🌈", "العربية עברית हिन्दी ไทย", "\u00a0nbsp\u2003em\u180emvs\u200bzwsp\u0085nel\u2028ls\u3000ideo",
    "\ufeffbom\x00nul\x07\x1b[0m", "x=(1+2)*3//4%5 != y_z->w; /* c */ #tag @at", "new: \U00031350\ua7cb\u1c89\U00010d40\U0001fae8\u0897\U0001ccf0!",
    "a<think>b</think> c <think> d", "<s>start</s> <pad><pad>  <mask>  end word<mask>word <w> w<w> <w>! é<w> \u0438\u0306<w> \u0439<w>", "\n\n\n   \n x \n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethethethethethethethethethethethethethethethethethethethethe andandandandandandandandandandandandandand",
]


def cases(tokenizer, texts=TEXTS):
    rows = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        post = tokenizer.encode(text).ids
        rows.append(dict(text=text, ids=ids, post=post, decoded=tokenizer.decode(ids, skip_special_tokens=False),
                         skipped=tokenizer.decode(ids, skip_special_tokens=True)))
    return rows


def base_tokenizer():
    corpus = ["the cat and the dog, then the other one and another", "Hello world, hello again; we don't know what it's",
              "1 + 2 = 3 and 12 * 3 = 36, (a + b) != c", "naïve café, 中文字 中文", "  indented\n\n  text\n"] * 3
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer.to_str()


def split(pattern, behavior, invert=False):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, behavior, invert),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def behaviors():
    base = base_tokenizer()
    variants = {}

    def variant(name, change):
        tokenizer = Tokenizer.from_str(base)
        tokenizer.decoder = decoders.ByteLevel()
        change(tokenizer)
        changed = json.loads(tokenizer.to_str())
        model = changed.pop("model")
        variants[name] = dict(fields={k: changed[k] for k in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                                                               "decoder")},
                              ignore_merges=model["ignore_merges"], cases=cases(tokenizer))

    def set_pre(pre):
        def change(tokenizer):
            tokenizer.pre_tokenizer = pre
        return change

    variant("byte_level", lambda t: None)
    variant("prefix_space", set_pre(pre_tokenizers.ByteLevel(add_prefix_space=True)))
    variant("prefix_space_no_regex", set_pre(pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)))
    for individual in (True, False):
        variant(f"digits_{individual}", set_pre(pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual), pre_tokenizers.ByteLevel(add_prefix_space=True)])))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            variant(f"split_{behavior}_{invert}", set_pre(split(Regex(r"[\s\d]"), behavior, invert)))
        variant(f"split_string_{behavior}", set_pre(split(" t", behavior)))
    variant("regex_words", set_pre(split(Regex(r"\w+|\S|\s{2,}|^x$"), "isolated")))
    variant("regex_ruby", set_pre(split(Regex(r"(?i:THE)|\p{Lu}{1,2}|(?<!a)n|\v|\u0041|\x{4e2d}|\h"), "isolated")))

    def nfc(tokenizer):
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
        tokenizer.add_tokens([AddedToken("caf\u1ebf", normalized=True), AddedToken("\u0438\u0306", normalized=True)])
    variant("nfc", nfc)

    def added(tokenizer):
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_special_tokens(["<s>", "</s>", "<pad>", AddedToken("<mask>", lstrip=True, rstrip=True)])
        tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False, rstrip=True),
                              AddedToken("<w>", single_word=True, normalized=False), AddedToken("\u0439<", normalized=True),
                              AddedToken("na", single_word=True), AddedToken("\u0457", normalized=False), AddedToken("orl", lstrip=True)])
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A </s> <pad>", pair="<s> $A $B:1",
                                          special_tokens=[("<s>", 340), ("</s>", 341), ("<pad>", 342)])])
    variant("added", added)

    def ignore(tokenizer):
        spec = json.loads(tokenizer.to_str())
        spec["model"]["ignore_merges"] = True
        spec["model"]["merges"] = spec["model"]["merges"][:40]
        return Tokenizer.from_str(json.dumps(spec))
    ignoring = ignore(Tokenizer.from_str(base))
    ignoring.decoder = decoders.ByteLevel()
    variants["ignore_merges"] = dict(fields={}, ignore_merges=True, merges=40, cases=cases(ignoring))
    model = json.loads(base)["model"]
    return dict(vocab=model["vocab"], merges=model["merges"], variants=variants)


def write(name, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    text = text.replace('{"text"', '\n{"text"').replace('"fields"', '\n"fields"')  # one case a line
    (golden / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    golden.mkdir(parents=True, exist_ok=True)
    write("behaviors.json", behaviors())
    write("published.json", {name: cases(Tokenizer.from_file(str(data / "tokenizers" / name / "tokenizer.json")))
                             for name in ("deepseek-r1", "deepseek-r1-distill-qwen", "deepseek-r1-distill-llama")})
    trained = golden / "trained_tokenizer.json"
    if trained.exists():
        tokenizer = Tokenizer.from_file(str(trained))
        write("trained.json", cases(tokenizer, TEXTS + ["<think>12 + 34 = 46</think>", "<bos>(7 - 3) * 12 = 48<eos>"]))
