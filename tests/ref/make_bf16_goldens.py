"""Writes tests/golden/models/bf16.safetensors: for each checkpoint there, transformers' logits with weights and activations in bf16 (CPU).

    python tests/ref/make_bf16_goldens.py [NAME ...]        # needs torch and transformers 5; the others' logits are kept

"<name>": logits [B, T, V] of expected.safetensors' tokens, as f32.
"""
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

MODELS = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models"


def main():
    names = sys.argv[1:]
    out = load_file(MODELS / "bf16.safetensors") if names else {}
    for directory in sorted(path.parent for path in MODELS.glob("*/config.json")):
        if names and directory.name not in names:
            continue
        tokens = load_file(directory / "expected.safetensors")["tokens"].long()
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16, attn_implementation="eager",
                                                     experts_implementation="eager")
        with torch.no_grad():
            out[directory.name] = model(tokens).logits.float().contiguous()
    save_file(out, MODELS / "bf16.safetensors")


if __name__ == "__main__":
    main()
