#include "reward/response.h"

#include <array>
#include <optional>
#include <string>

#include "base/ascii.h"
#include "reward/answer_text.h"
#include "text/think.h"

namespace r1 {
namespace {

constexpr std::array<std::string_view, 4> kTags{"<think>", "</think>", "<answer>", "</answer>"};

// Returns the answer of a well-formed response. If the response has neither <answer> nor </answer>, returns
// the last \boxed{...} behind the thought. Returns nothing for any other response.
std::optional<std::string_view> answer_of(const Response& parts, std::string_view response) {
  if (parts.well_formed()) return parts.answer;
  if (parts.why != "no_answer") return std::nullopt;
  const std::string_view behind = response.substr(find_thought(response)->end);
  if (behind.find(kTags[3]) != std::string_view::npos) return std::nullopt;
  return last_boxed(behind);
}

}  // namespace

Response read_response(std::string_view response) {
  constexpr size_t kNone = std::string_view::npos;
  Response out;
  std::array<size_t, 4> at{};
  bool repeated = false;
  for (size_t i = 0; i < kTags.size(); ++i) {
    at[i] = response.find(kTags[i]);
    repeated |= at[i] != kNone && response.find(kTags[i], at[i] + kTags[i].size()) != kNone;
  }
  const auto [think, end_think, answer, end_answer] = at;
  const auto after = [&](size_t tag) { return at[tag] + kTags[tag].size(); };
  const auto refused = [&](std::string_view why) {
    out.why = why;
    return out;
  };
  if (think == kNone) return refused("no_think");
  if (!trim(response.substr(0, think)).empty()) return refused("text_before_think");
  if (repeated) return refused("repeated_tag");
  // Each tag that is there comes after those before it in kTags.
  size_t last = 0;
  for (const size_t position : at) {
    if (position == kNone) continue;
    if (position < last) return refused("tags_out_of_order");
    last = position;
  }
  if (end_think == kNone) {
    return refused(answer == kNone && end_answer == kNone ? "truncated" : "tags_out_of_order");
  }
  if (answer == kNone) return refused("no_answer");
  if (!trim(response.substr(after(1), answer - after(1))).empty()) return refused("text_before_answer");
  if (end_answer == kNone) return refused("truncated");
  if (!trim(response.substr(after(3))).empty()) return refused("text_after_answer");
  out.answer = response.substr(after(2), end_answer - after(2));
  return out;
}

Verdict format_verdict(const Response& response) {
  return {.correct = false, .well_formed = response.well_formed(), .why = std::string(response.why)};
}

Verdict judge_response(std::string_view response, const AnswerJudge& judge) {
  const Response parts = read_response(response);
  Verdict verdict = format_verdict(parts);
  if (const auto answer = answer_of(parts, response)) verdict.why = judge(unwrapped(*answer));
  verdict.correct = verdict.why == "ok";
  return verdict;
}

}  // namespace r1
