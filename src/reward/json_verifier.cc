#include "reward/json_verifier.h"

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/error.h"
#include "formats/json.h"
#include "reward/free_answer.h"
#include "reward/number.h"

namespace r1 {
namespace {

// Returns the inside of the last block between ``` lines, or the whole text if there is no block.
std::string_view unfenced(std::string_view text) {
  constexpr std::string_view kFence = "```";
  const size_t close = text.rfind(kFence);
  if (close == std::string_view::npos || close == 0) return text;
  const size_t open = text.rfind(kFence, close - 1);
  if (open == std::string_view::npos || open + kFence.size() > close) return text;
  std::string_view inside = text.substr(open + kFence.size(), close - open - kFence.size());
  size_t language = 0;  // the name behind ```, as in ```json
  while (language < inside.size() && is_letter(inside[language])) ++language;
  return trim(inside.substr(language));
}

bool equal_numbers(const Json& a, const Json& b) {
  const std::string left = a.literal(), right = b.literal();
  if (left == right) return true;
  const NumberText x = read_number(left), y = read_number(right);
  return x.ok() && y.ok() && x.value == y.value;
}

// Returns "" if the answer has all fields of the gold, else the reason. `path` is the path of the two values;
// "" at the top.
std::string difference(const Json& gold, const Json& answer, const std::string& path) {
  const auto wrong = [&] { return "wrong_field:" + path; };
  if (gold.is_number() && answer.is_number()) return equal_numbers(gold, answer) ? "" : wrong();
  if (gold.is_array() && answer.is_array()) {
    if (gold.size() != answer.size()) return wrong();
    for (size_t i = 0; i < gold.size(); ++i) {
      if (!difference(gold.at(i), answer.at(i), path).empty()) return wrong();
    }
    return "";
  }
  if (!gold.is_object() || !answer.is_object()) return gold == answer ? "" : wrong();
  for (const auto& [key, value] : gold.members()) {
    const std::string inner = path.empty() ? key : path + "." + key;
    const Json* field = answer.find(key);
    if (field == nullptr) return "missing_field:" + inner;
    if (std::string why = difference(value, *field, inner); !why.empty()) return why;
  }
  return "";
}

std::string judge_json(const Json& gold, std::string_view answer) {
  Json read;
  try {
    read = parse_json(unfenced(answer), "");
  } catch (const Error&) {
    return "not_json";
  }
  if (!read.is_object()) return "not_an_object";
  const std::string why = difference(gold, read, "");
  return why.empty() ? "ok" : why;
}

}  // namespace

JsonVerifier::JsonVerifier(const Json& gold) {
  Json read =
      gold.is_string() ? parse_json(gold.string(), gold.source().empty() ? "gold" : gold.source()) : gold;
  if (!read.is_object()) gold.fail("is not a JSON object");
  if (read.size() == 0) gold.fail("has no fields to compare");
  gold_ = std::make_shared<const Json>(std::move(read));
}

Verdict JsonVerifier::verify(std::string_view response) const {
  return judge_free_answer(response, [&](std::string_view answer) { return judge_json(*gold_, answer); });
}

}  // namespace r1
