// reward/math/extract.h: finds the final answer in free text.
//
// The answer is the first of these that the text contains:
//   tag      <answer>...</answer>, the last one
//   boxed    \boxed{...}: the last one, together with those before it that only "and", "," or "name =" parts from it
//   hashes   #### 72: the rest of the line
//   phrase   "the answer is ...", "final answer: ...": the last one
//   math     the last $...$, $$...$$, \(...\) or \[...\], together with its neighbours as for boxed
//   number   the last number, with its sign, its fraction bar and its percent or currency sign
// The last box, the last #### and the last phrase are ordered by position, the latest first. A number behind
// the last formula precedes that formula. If the text has a complete thought, only the text behind </think>
// is searched. The caller should first try to read the whole text as an answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace r1::math {

inline constexpr size_t kMaxFreeTextBytes = size_t{1} << 16;  // only the end of a longer text is searched

enum class Source : uint8_t { tag, boxed, hashes, phrase, math, number };

struct Candidate {
  Source source = Source::number;
  std::string text;
};

struct ExtractOptions {
  bool latex = true;    // accept formulas in delimiters
  bool numbers = true;  // accept a bare number in the text
};

// Returns the candidates in order of preference. The answer is the first one that can be read. Others follow
// because the first may have too many words around the answer.
std::vector<Candidate> candidates_of(std::string_view text, const ExtractOptions& options = {});

// Returns the choice from A to J that a text makes: behind "answer", at the text's start ("D. it"), or the
// last letter that stands alone. Returns '\0' if it makes none.
char choice_of(std::string_view text);

// Returns the text behind the thought: all of it if there is no thought, nothing if the thought does not end.
std::string_view behind_thought(std::string_view text);

}  // namespace r1::math
