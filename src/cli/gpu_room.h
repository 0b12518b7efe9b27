// cli/gpu_room.h: whether a model's weights fit into a GPU's memory, before they are read.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "cli/commands.h"
#include "model/config.h"
#include "model/weight_formats.h"
#include "tensor/numerics.h"

namespace r1 {

// Returns "", or what is needed, what is free and what would fit. `formats` are those of the files.
std::string gpu_room_error(const ModelConfig& config, const WeightFormats& formats, Numerics numerics,
                           std::string_view gpu, int64_t free);

// Throws Error if the weights of the model with this configuration, quantised as the options say, are larger than
// the GPU's free memory. Checks nothing on the CPU.
void check_gpu_room(const CommonOptions& common, const std::filesystem::path& model,
                    const ModelConfig& config, Numerics numerics);

}  // namespace r1
