// reward/repetition.h: measures how much of a text repeats earlier text.
//
//   repetition = 1 - (different n-grams) / (n-grams), in [0, 1): 0 if no n consecutive words occur twice
//
// This is the repetition penalty of Yeo et al. (2502.03373), taken over words. Words are separated by white
// space and put in lower case (ASCII). Each punctuation character is a word of its own. A run of more than 16
// bytes, as in scripts without spaces or in "aaaa...", is cut at the first character boundary after every 16
// bytes. A text with fewer than n words has repetition 0.
#pragma once

#include <cstdint>
#include <string_view>

namespace r1 {

inline constexpr int64_t kDefaultRepetitionWords = 4;

// Returns the repetition for n >= 1. Time is at most proportional to n times the words. Memory is linear in
// the text.
double repetition_of(std::string_view text, int64_t n);

}  // namespace r1
