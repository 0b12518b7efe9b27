// reward/answer.h: judging an answer as the tokens that a model made.
#pragma once

#include <cstdint>
#include <span>

#include "data/task.h"
#include "reward/verdict.h"
#include "text/tokenizer.h"

namespace r1 {

// `ended`: the last token is the stop token (it is no part of the text). An answer cut off is never correct:
// why = "truncated". Special tokens inside the answer stay in its text, so that an answer with a stray one is
// not well formed.
Verdict verify_answer(const Tokenizer& tokenizer, const Problem& problem, std::span<const int32_t> tokens,
                      bool ended);

// Tokens before the first </think>, a leading <think> not counted; all of them where the thought never ends.
int64_t thinking_tokens(const Tokenizer& tokenizer, std::span<const int32_t> tokens);

}  // namespace r1
