// model/open_weights.h: the weights of a model, whatever holds them.
#pragma once

#include <filesystem>
#include <memory>

#include "formats/weight_source.h"
#include "model/config.h"

namespace r1 {

// Opens a Hugging Face directory or a GGUF file, whose sizes are `config`. Throws Error.
std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& model, const ModelConfig& config);

}  // namespace r1
