#include "reward/answer.h"

#include <algorithm>
#include <string>
#include <vector>

#include "reward/verifier.h"
#include "text/think.h"

namespace r1 {

Verdict verify_answer(const Tokenizer& tokenizer, const Problem& problem, std::span<const int32_t> tokens,
                      bool ended, std::string_view opening) {
  if (!ended) {
    Verdict verdict;
    verdict.why = "truncated";
    return verdict;
  }
  const std::string text = tokenizer.decode(tokens.first(tokens.empty() ? 0 : tokens.size() - 1));
  return verify(problem, whole_response(text, opening));
}

int64_t thinking_tokens(const Tokenizer& tokenizer, std::span<const int32_t> tokens, bool prompt_opened) {
  std::string text;  // as bytes: tags are ASCII, so a character that is cut short hides none
  std::vector<size_t> begins;
  for (const int32_t token : tokens) {
    begins.push_back(text.size());
    text += tokenizer.piece_bytes(token);
  }
  const auto thought = find_thought(text, prompt_opened);
  if (!thought) return 0;
  return std::ranges::count_if(begins, [&](size_t at) { return at >= thought->begin && at < thought->end; });
}

}  // namespace r1
