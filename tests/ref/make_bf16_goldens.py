"""Writes tests/golden/models/bf16.safetensors: for each checkpoint there, transformers' logits with weights and activations in bf16 (CPU).

    python tests/ref/make_bf16_goldens.py        # needs torch and transformers 5

"<name>": logits [B, T, V] of expected.safetensors' tokens, as f32.
"""
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

MODELS = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models"


def main():
    out = {}
    for directory in sorted(path.parent for path in MODELS.glob("*/config.json")):
        tokens = load_file(directory / "expected.safetensors")["tokens"].long()
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16, attn_implementation="eager",
                                                     experts_implementation="eager")
        with torch.no_grad():
            out[directory.name] = model(tokens).logits.float().contiguous()
    save_file(out, MODELS / "bf16.safetensors")


if __name__ == "__main__":
    main()
