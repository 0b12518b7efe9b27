#include "reward/free_answer.h"

#include "base/ascii.h"
#include "reward/response.h"
#include "text/think.h"

namespace r1 {

FreeAnswer free_answer(std::string_view response) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  constexpr size_t kNone = std::string_view::npos;
  std::string_view rest = response;
  if (const auto thought = find_thought(response)) {
    if (!thought->closed) return {.text = {}, .why = "truncated"};
    rest = response.substr(thought->end);
    if (rest.starts_with(kThinkClose)) rest.remove_prefix(kThinkClose.size());
  }
  if (const size_t open = rest.rfind(kOpen); open != kNone) {
    rest.remove_prefix(open + kOpen.size());
    const size_t close = rest.find(kClose);
    if (close == kNone) return {.text = {}, .why = "truncated"};
    rest = rest.substr(0, close);
  }
  rest = trim(rest);
  if (rest.empty()) return {.text = {}, .why = "no_answer"};
  if (rest.size() > kMaxFreeAnswerBytes) return {.text = {}, .why = "too_long"};
  return {.text = rest, .why = {}};
}

Verdict judge_free_answer(std::string_view response,
                          const std::function<std::string(std::string_view)>& judge) {
  Verdict verdict;
  verdict.well_formed = read_response(response).well_formed();
  const FreeAnswer answer = free_answer(response);
  verdict.why = answer.why.empty() ? judge(answer.text) : std::string(answer.why);
  verdict.correct = verdict.why == "ok";
  return verdict;
}

}  // namespace r1
