// reward/free_answer.h: finds the answer for the verifiers text, regex and json. They serve the user's own
// tasks, so the tags of response.h are optional.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

// The largest length of an answer, which bounds the time of a verdict. A longer answer is refused as
// too_long.
inline constexpr size_t kMaxFreeAnswerBytes = 64 * 1024;

struct FreeAnswer {
  std::string_view text;  // trimmed
  // Empty if there is an answer, else the first of these that applies: truncated (the thought or the answer
  // never ends), no_answer (nothing but white space), too_long.
  std::string_view why;
};

// Returns the text of the last <answer>...</answer> behind the thought, or all text behind the thought if it
// has no <answer>. If there is no thought, the whole response is searched in the same way.
FreeAnswer free_answer(std::string_view response);

// Returns a verdict. `judge` gets the answer and returns "ok" or a reason. The format is judged by the rules
// of response.h.
Verdict judge_free_answer(std::string_view response,
                          const std::function<std::string(std::string_view)>& judge);

}  // namespace r1
