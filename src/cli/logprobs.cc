#include "cli/logprobs.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text_util.h"

namespace r1 {
namespace {

// Returns the double nearest to the shortest decimal of the f32, so that dump() writes that decimal.
Json decimal(float value) {
  char text[32];
  const char* end = std::to_chars(text, text + sizeof(text), value).ptr;
  double number = 0;
  std::from_chars(text, end, number);
  return number;
}

}  // namespace

LogprobFormat logprob_format(const std::string& name, bool written) {
  if (name.empty()) return LogprobFormat::hex;
  if (!written) throw Error("--logprob-format is given, but no log-probs are written: add --logprobs");
  if (name == "hex") return LogprobFormat::hex;
  if (name == "decimal") return LogprobFormat::decimal;
  throw Error("--logprob-format is " + name + "; it must be hex or decimal");
}

Json logprobs_json(std::span<const float> logprobs, LogprobFormat format) {
  Json out = Json::array();
  for (const float logprob : logprobs) {
    const bool number = format == LogprobFormat::decimal && std::isfinite(logprob);
    out.push_back(number ? decimal(logprob) : Json(hex_float(logprob)));
  }
  return out;
}

}  // namespace r1
