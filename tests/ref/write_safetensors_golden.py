"""Writes tests/golden/formats/python.safetensors with the reference implementation (pip: safetensors, torch).

Run from the repository's root. Values sit where formats go wrong: signed zeros, subnormals, the largest numbers,
an empty tensor, a scalar, an integer type. The expected f32 values are spelled out in tests/formats/safetensors_test.cc.
"""
import torch
from safetensors.torch import save_file

f32 = torch.tensor([[0.0, -0.0, 1.5], [2.0**-149, 3.4028234663852886e38, -1 / 3]], dtype=torch.float32)
save_file(
    {
        "layer.f32": f32,
        "layer.bf16": torch.tensor([1.0, -3.140625, 2.0**-133, 3.3895313892515355e38], dtype=torch.bfloat16),
        "layer.f16": torch.tensor([1.0, -65504.0, 2.0**-24, 0.333251953125], dtype=torch.float16),
        "layer.f64": torch.tensor([1.0, 0.1, -1e-300], dtype=torch.float64),
        "layer.i64": torch.tensor([-1, 2**62], dtype=torch.int64),
        "empty": torch.empty((0, 4), dtype=torch.float32),
        "scalar": torch.tensor(7.0, dtype=torch.float32),
    },
    "tests/golden/formats/python.safetensors",
    metadata={"format": "pt", "author": "reference"},
)
