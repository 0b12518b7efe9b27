// reward/answer.h: verifies an answer given as the tokens that a model generated.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "data/task.h"
#include "reward/verdict.h"
#include "reward/verifier.h"
#include "text/tokenizer.h"

namespace r1 {

// Returns the whole response: `opening`, the prompt's thought_opening (text/think.h), followed by the tokens'
// text, special tokens included. `ended` means that the last token is the stop token, which is not part of
// the text.
std::string answered_text(const Tokenizer& tokenizer, std::span<const int32_t> tokens, bool ended,
                          std::string_view opening);

// Returns the verdict on the whole response: `opening`, the prompt's thought_opening (text/think.h), followed
// by the tokens' text. `ended` means that the last token is the stop token, which is not part of the text. An
// answer that was cut off is never correct: why = "truncated". Special tokens inside the answer stay in its
// text, so that an answer with a stray one is not well formed.
Verdict verify_answer(const Tokenizer& tokenizer, const Verifier& verifier, std::span<const int32_t> tokens,
                      bool ended, std::string_view opening);
// The same for one answer: the problem's gold is read each time. Throws Error as Verifier does.
Verdict verify_answer(const Tokenizer& tokenizer, const Problem& problem, std::span<const int32_t> tokens,
                      bool ended, std::string_view opening);

// Returns the length of the thought: the number of tokens whose first byte lies in find_thought's span of
// their text, whatever tokens the tags are made of. 0 without a thought; all the rest if the thought never
// ends.
int64_t thinking_tokens(const Tokenizer& tokenizer, std::span<const int32_t> tokens, bool prompt_opened);

}  // namespace r1
