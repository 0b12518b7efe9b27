"""Random texts for the comparisons of tokenizers: words, edges of Unicode, and pieces of given tokens."""

SURROGATES = range(0xD800, 0xE000)
EVERY_CHARACTER = [chr(c) for c in range(0x110000) if c not in SURROGATES]

SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
NEARLY_SPACES = "\u180e\u200b\u200c\u200d\u2060\ufeff\x1c\x1f\x00"
MARKS = "\u0300\u0301\u0302\u0308\u0323\u0327\u0345\u0334\u05b0\u064b\u093c\u094d\u0eb8\u0eba\u1dfa\u1abf\u302a\u3099\U0001e08f\U0001d165"
NEW = ("\u0897\u1c89\u1c8a\u2427\ua7cb\ua7da\U000105c0\U000105c9\U00010d40\U00010d4a\U00010d69\U00010ec2\U00011380\U00011f02"
       "\U00011f50\U0001cc00\U0001ccf0\U0001fae9\U0001fac6\U00031350\U0002ebf0\U000323af"
       "\u088f\u0c5c\u0cdc\u1acf\u1add\u20c1\ua7ce\ua7d2\U00010940\U00011db0\U00011de0\U00011de9\U00016ea0\U00016ff4\U0001ced0\U0001e6c0\U0001fa8a\U000323b0")
EDGES = "\ud7ff\ue000\uffff\ufffd\U00010000\U0010ffff\x7f\x80\xad\u07ff\u0800\uf8ff\ufdd0"
LETTERS = "aAbBeEiIsStTzZ\xe9\xc9\xdf\u0130\u0131\u017f\u212a\u01c5\u03a3\u03c2\u0416\u0436\u05d0\u0627\u0915\u0e01\u3042\u30a2\u4e2d\u6587\uac00\ud55c\u1100\u1161\u11a8\ufb01\u0149"
NUMBERS = "0129\xb2\xbd\u0663\u0967\u2167\u2460\u3007\u4e00\U0001d7d8\U00010107"
SIGNS = "'\"!?.,:;-_()[]{}<>/\\|@#$%^&*+=~`\u2019\u201c\u3002\uff5c\u2581\u20ac\xa9\u2211\U0001f600\U0001f469\U0001f3fd\ufe0f\U0001f1e9"
WORDS = ["the", "The", " the", "and", "don't", "I'LL", "we've", "it's", "'s", "naïve", "café", "cafe\u0301", "Straße", "12345", "3.14",
         "x=(1+2)*3", "```python\n", "    ", "\n\n", "\r\n", "</", "<think>", "中文字符", "ひらがな", "한국어", "हिन्दी", "ไทย", "العربية",
         "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308", "K", "ſ", "e\u0323\u0301", "\u1100\u1161\u11a8"]


def random_character(rng):
    kind = rng.randrange(16)
    if kind < 4:
        return chr(rng.randint(32, 126))
    if kind < 12:
        return rng.choice([SPACES, SPACES, NEARLY_SPACES, MARKS, NEW, EDGES, LETTERS, NUMBERS][kind - 4])
    if kind == 12:
        return chr(rng.randrange(0x0, 0x3000))
    if kind == 13:
        return rng.choice(EVERY_CHARACTER)
    return rng.choice(SIGNS)


def random_text(rng, contents):
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3, 5, 8, 12, 20])):
        kind = rng.randrange(10)
        if kind < 3 and contents:
            content = rng.choice(contents)
            if rng.random() < 0.25:  # a fragment
                cut = rng.randrange(len(content) + 1)
                content = content[:cut] if rng.random() < 0.5 else content[cut:]
            parts.append(content)
        elif kind < 5:
            parts.append(rng.choice(WORDS))
        elif kind < 6:
            parts.append(rng.choice(SPACES + " ") * rng.choice([1, 1, 2, 3]))
        elif kind == 6 and rng.random() < 0.2:
            parts.append(rng.choice([random_character(rng), rng.choice(WORDS), rng.choice(contents or ["ab"])]) * rng.choice([5, 30, 45, 100]))
        else:
            parts.append("".join(random_character(rng) for _ in range(rng.choice([1, 1, 2, 4]))))
    return "".join(parts)
