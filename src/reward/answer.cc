#include "reward/answer.h"

#include <algorithm>

#include "reward/verifier.h"

namespace r1 {

Verdict verify_answer(const Tokenizer& tokenizer, const Problem& problem, std::span<const int32_t> tokens,
                      bool ended) {
  if (!ended) {
    Verdict verdict;
    verdict.why = "truncated";
    return verdict;
  }
  return verify(problem, tokenizer.decode(tokens.first(tokens.empty() ? 0 : tokens.size() - 1)));
}

int64_t thinking_tokens(const Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  const auto open = tokenizer.id_of("<think>");
  const auto close = tokenizer.id_of("</think>");
  int64_t end = static_cast<int64_t>(tokens.size());
  if (close) end = std::ranges::find(tokens, *close) - tokens.begin();
  const bool opened = open && end > 0 && tokens.front() == *open;
  return end - (opened ? 1 : 0);
}

}  // namespace r1
