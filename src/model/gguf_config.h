// model/gguf_config.h: the sizes of a model in a GGUF file. Its tensors are in model/gguf_names.h.
//
// Architectures llama, qwen2, qwen3, qwen3moe and deepseek2 (DeepSeek-V2, V3 and R1) are read. Rotary
// scaling: "linear" and "yarn" are keys; llama3's is the tensor rope_freqs.weight, whose factors are traced
// back to the settings that made them, so that the angles are those of the model's config.json to the bit.
#pragma once

#include <filesystem>

#include "formats/gguf_file.h"
#include "model/config.h"

namespace r1 {

// The config.json that the file's keys and tensors amount to, in its own names. Throws Error "FILE: KEY ...".
Json gguf_config_json(const GgufFile& file);

// True for a file whose name ends in .gguf: a model is such a file, or a Hugging Face directory.
bool is_gguf(const std::filesystem::path& model);

// The sizes of a model that is either. Throws Error.
ModelConfig load_model_config(const std::filesystem::path& model);

// True if matrices of the file are stored in blocks.
bool has_quantised_matrices(const GgufFile& file);

// gguf_config_json, read. dtype is that of the matrices; bf16 if they are quantised.
ModelConfig read_model_config(const GgufFile& file);

}  // namespace r1
