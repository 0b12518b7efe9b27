// reward/repetition.h: how much of a text says again what it has said.
//
//   repetition = 1 - (different n-grams) / (n-grams), in [0, 1): 0 if no n words in a row come twice
//
// The repetition penalty of Yeo et al. (2502.03373), taken over words. Words are what white space divides, in lower case
// (ASCII); each piece of punctuation is a word of its own; a run of more than 16 characters, as in scripts
// without spaces or in "aaaa...", is cut every 16 bytes at the next character. A text with fewer than n words has none.
#pragma once

#include <cstdint>
#include <string_view>

namespace r1 {

inline constexpr int64_t kDefaultRepetitionWords = 4;

// n >= 1. Time and memory are linear in the text, whatever n is.
double repetition_of(std::string_view text, int64_t n);

}  // namespace r1
