// cli/logprobs.h: the output formats of log-probs.
#pragma once

#include <span>
#include <string>

#include "formats/json.h"

namespace r1 {

// hex: strings in C's %a form. decimal: the shortest decimal numbers that read back to the same f32 bits. In
// both, an infinity, which JSON cannot express as a number, is the string "-inf".
enum class LogprobFormat : uint8_t { hex, decimal };

// "hex", "decimal" or "" (hex); throws Error that names --logprob-format. `written` is true if the command
// writes log-probs at all.
LogprobFormat logprob_format(const std::string& name, bool written);

Json logprobs_json(std::span<const float> logprobs, LogprobFormat format);

}  // namespace r1
