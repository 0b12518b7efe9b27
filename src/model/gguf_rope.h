// model/gguf_rope.h: the settings of rotary scaling that rope_freqs.weight was made with.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "model/rope_config.h"

namespace r1 {

// `factors` [P / 2] are what each inverse frequency is divided by. Returns llama3's settings that give them
// within 1e-4; nothing if there are none. Several settings may give the same factors: the published models'
// are tried first.
std::optional<RopeConfig> llama3_rope_of(std::span<const float> factors, double theta);

}  // namespace r1
