// reward/response.h: the reasoning format: <think>thought</think><answer>answer</answer>, each tag once, in
// that order, with only white space before, between and after. If the prompt opened the thought, the caller
// puts its <think> back in front: whole_response in text/think.h.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

struct Response {
  // Empty when well formed. Else the first that holds of: no_think, text_before_think, repeated_tag,
  // tags_out_of_order, truncated (the end came inside the thought or the answer), no_answer (nothing opens
  // the answer), text_before_answer, text_after_answer.
  std::string_view why;
  std::string_view answer;  // the text between the answer's tags; empty unless well formed
  bool well_formed() const { return why.empty(); }
};

Response read_response(std::string_view response);

// Returns the verdict on the format alone. `correct` is not decided yet.
Verdict format_verdict(const Response& response);

// Returns "ok" or the reason why an answer is wrong. Safe from any thread.
using AnswerJudge = std::function<std::string(std::string_view answer)>;

// Returns the verdict on a whole response. `judge` gets the answer without the wrappers of answer_text.h. It
// is called if the format is right, and also if the thought is complete and no <answer> follows: the answer
// is then the last \boxed{...} behind the thought. Such a response can be correct, but is not well formed.
Verdict judge_response(std::string_view response, const AnswerJudge& judge);

}  // namespace r1
