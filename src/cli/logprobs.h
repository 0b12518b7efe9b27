// cli/logprobs.h: how log-probs are written.
#pragma once

#include <span>
#include <string>

#include "formats/json.h"

namespace r1 {

// hex: strings in C's %a form. decimal: the shortest decimal numbers that read back to the same f32 bits; an
// infinity, which JSON has no number for, is the string "-inf" in both.
enum class LogprobFormat : uint8_t { hex, decimal };

// "hex", "decimal" or "" (hex); throws Error that names --logprob-format. `written`: log-probs are written at all.
LogprobFormat logprob_format(const std::string& name, bool written);

Json logprobs_json(std::span<const float> logprobs, LogprobFormat format);

}  // namespace r1
