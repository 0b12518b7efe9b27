// model/gguf_config.h: the sizes of a model in a GGUF file. Its tensors are in model/gguf_names.h.
//
// Architectures llama, qwen2, qwen3 and deepseek2 (DeepSeek-V3 and R1) are read. Rotary scaling: "linear" and "yarn" are
// keys; llama3's is the tensor rope_freqs.weight, whose factors are traced back to the settings that made
// them, so that the angles are those of the model's config.json to the bit.
#pragma once

#include "formats/gguf_file.h"
#include "model/config.h"

namespace r1 {

// The config.json that the file's keys and tensors amount to, in its own names. Throws Error "FILE: KEY ...".
Json gguf_config_json(const GgufFile& file);

// The same, read. dtype is that of the matrices; bf16 if they are quantised.
ModelConfig read_model_config(const GgufFile& file);

}  // namespace r1
