// reward/math/extract.h: where the final answer stands in free text.
//
// The first that is there, in this order:
//   tag      <answer>...</answer>, the last one
//   boxed    \boxed{...}: the last one, together with those before it that only "and", "," or "name =" parts from it
//   hashes   #### 72: the rest of the line
//   phrase   "the answer is ...", "final answer: ...": the last one
//   math     the last $...$, $$...$$, \(...\) or \[...\], together with its neighbours as for boxed
//   number   the last number, with its sign, its fraction bar and its percent or currency sign
// A phrase behind the last box or #### comes before these. What stands behind a complete thought (</think>) is all
// that is looked at. Text that is an answer as a whole, without any of these, is the caller's to try first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace r1::math {

inline constexpr size_t kMaxFreeTextBytes = size_t{1} << 16;  // of longer text, the end is looked at

enum class Source : uint8_t { tag, boxed, hashes, phrase, math, number };

struct Candidate {
  Source source = Source::number;
  std::string text;
};

struct ExtractOptions {
  bool latex = true;    // mathematics in delimiters
  bool numbers = true;  // a bare number in the text
};

// In the order of preference. The first one that can be read is the answer; the others are for answers that the
// first is too wordy to give.
std::vector<Candidate> candidates_of(std::string_view text, const ExtractOptions& options = {});

// The choice that a text makes: A to J behind "answer", in front of all else ("D. it"), or the last one that stands
// alone; '\0' if it makes none.
char choice_of(std::string_view text);

// The text behind the thought: all of it if there is no thought, nothing if the thought does not end.
std::string_view behind_thought(std::string_view text);

}  // namespace r1::math
