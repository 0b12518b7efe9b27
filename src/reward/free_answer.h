// reward/free_answer.h: where the verifiers text, regex and json look for the answer. They serve tasks of the user's
// own, so the tags of response.h are welcome but not needed.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

// An answer is at most this long; a longer one is refused as too_long. It bounds the time of a verdict.
inline constexpr size_t kMaxFreeAnswerBytes = 64 * 1024;

struct FreeAnswer {
  std::string_view text;  // trimmed
  // Empty if there is an answer, else the first that holds of: truncated (the thought or the answer never ends),
  // no_answer (nothing but white space), too_long.
  std::string_view why;
};

// The answer is the text of the last <answer>...</answer> behind the thought; if no <answer> stands there, all that
// stands behind the thought; if there is no thought, the whole response.
FreeAnswer free_answer(std::string_view response);

// Returns the verdict of `judge`, which gets the answer and returns "ok" or a reason. The format is judged as
// response.h says.
Verdict judge_free_answer(std::string_view response,
                          const std::function<std::string(std::string_view)>& judge);

}  // namespace r1
