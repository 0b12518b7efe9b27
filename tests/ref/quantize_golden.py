"""Writes tests/golden/gguf/quantized.gguf: blocks that r1 made, and what the gguf package reads them as.

  python tests/ref/quantize_golden.py R1          (packages: gguf 0.19, numpy)

  numbers      [4, 512] floats: random-normal rows, one with a few large numbers, one that is nowhere negative
  TYPE         the blocks of `r1 quantize --type TYPE --pure`
  TYPE.f32     their values by the gguf package
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "gguf" / "quantized.gguf"
TYPES = ["Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "Q3_K", "Q2_K", "IQ4_XS", "IQ4_NL"]
PRESETS = {"Q5_K": "Q5_K_S", "Q4_K": "Q4_K_S", "Q3_K": "Q3_K_M"}


def write(path, tensors):
    writer = GGUFWriter(path, "test")
    for name, data, kind in tensors:
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    random = np.random.default_rng(17)
    numbers = random.normal(0, 0.03, (4, 512)).astype(np.float32)
    numbers[2, ::50] *= 30
    numbers[3] = np.abs(numbers[3])
    tensors = [("numbers", numbers, None)]
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "in.gguf", pathlib.Path(folder) / "out.gguf"
        write(source, [("numbers.weight", numbers, None)])
        for name in TYPES:
            subprocess.run([sys.argv[1], "quantize", source, target, "--type", PRESETS.get(name, name), "--pure", "--force"], check=True)
            tensor = GGUFReader(target).tensors[0]
            assert tensor.tensor_type == T[name]
            data = np.array(tensor.data)
            tensors.append((name, data, T[name]))
            tensors.append((name + ".f32", dequantize(data, T[name]).astype(np.float32).reshape(numbers.shape), None))
    write(OUT, tensors)


main()
