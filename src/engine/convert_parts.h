// engine/convert_parts.h: what convert.cc and convert_directory.cc share.
#pragma once

#include <functional>
#include <string>

#include "formats/weight_source.h"
#include "model/config.h"

namespace r1 {

// Tells about the tensors that nobody has taken, such as a multi-token-prediction layer, in one line.
void note_left_out(const WeightSource& weights, const ModelConfig& config,
                   const std::function<void(const std::string&)>& note);

}  // namespace r1
