// model/gguf_keys.h: a model's sizes as the keys of a GGUF file, the reverse of model/gguf_config.h.
#pragma once

#include <string>
#include <vector>

#include "formats/gguf_writer.h"
#include "model/config.h"

namespace r1 {

// general.architecture and the architecture's keys. `source` names the config.json in messages. Throws Error
// for a setting that GGUF or llama.cpp has no place for.
GgufKeys gguf_keys(const ModelConfig& config, const std::string& source);

// The numbers of the tensor rope_freqs.weight; empty if the model needs none.
std::vector<float> gguf_rope_factors(const ModelConfig& config);

}  // namespace r1
