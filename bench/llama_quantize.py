"""llama.cpp's quantiser, of the package llama-cpp-python, as a function. Used by quantize_rms.py and quantize_kl.py."""

import ctypes

import llama_cpp

# general.file_type, which llama.cpp calls ftype.
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14, "Q4_K_M": 15,
              "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}
# The type of most matrices, where it has another name than the preset.
PURE = {"Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S", "Q3_K": "Q3_K_M"}


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def quiet(level, text, data):
    pass


def quantize(source, target, preset, pure=False, importance=None, threads=2):
    """Writes `target` in the type `preset`. `importance`: {tensor: mean squares}, as floats in a numpy array."""
    llama_cpp.llama_log_set(quiet, None)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[PURE.get(preset, preset)]
    params.nthread = threads
    params.pure = pure
    params.allow_requantize = False
    kept = []
    if importance:
        rows = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
        for i, (name, values) in enumerate(importance.items()):
            data = values.astype("float32").ravel()
            kept.append(data)
            rows[i].name = name.encode()
            rows[i].data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            rows[i].size = data.size
        params.imatrix = rows
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if status != 0:
        raise SystemExit(f"llama.cpp could not quantise {source} to {preset}")
