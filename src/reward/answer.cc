#include "reward/answer.h"

#include <algorithm>
#include <string>
#include <vector>

#include "text/think.h"

namespace r1 {

std::string answered_text(const Tokenizer& tokenizer, std::span<const int32_t> tokens, bool ended,
                          std::string_view opening) {
  if (ended && !tokens.empty()) tokens = tokens.first(tokens.size() - 1);
  return whole_response(tokenizer.decode(tokens), opening);
}

Verdict verify_answer(const Tokenizer& tokenizer, const Verifier& verifier, std::span<const int32_t> tokens,
                      bool ended, std::string_view opening) {
  if (ended) return verifier.verify(answered_text(tokenizer, tokens, ended, opening));
  Verdict verdict;
  verdict.why = "truncated";
  verdict.status = SampleStatus::refused;
  return verdict;
}

Verdict verify_answer(const Tokenizer& tokenizer, const Problem& problem, std::span<const int32_t> tokens,
                      bool ended, std::string_view opening) {
  return verify_answer(tokenizer, Verifier(problem), tokens, ended, opening);
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
