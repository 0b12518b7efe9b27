// reward/language.h: how much of a text is in one language: the language consistency of R1 (2501.12948, 2.3.2), "the
// proportion of target language words in the CoT".
//
// Words are runs of letters of one script. In scripts that put no space between words (Han, kana, Thai, Lao, Khmer,
// Burmese) every two characters count as one word. Not counted: numbers, tags such as <think>, LaTeX commands (\frac),
// and a letter that stands alone in a script with spaces (a variable).
//
// A word counts for the target if it is of the target's script and, where several languages share a script, if it is
// not another language's. The most frequent words (the, der, les, ...) of en, fr, de, es, it, pt and nl decide for
// themselves, unless the target shares them with another of these. Every other word goes with the nearest word of its
// line that has decided, the one before it first; in a line without any it counts for the target.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace r1 {

// ar, bn, de, el, en, es, fr, he, hi, it, ja, ka, ko, nl, pt, ru, ta, te, th, uk, zh.
const std::vector<std::string>& language_names();

struct LanguageCount {
  double words = 0, in_target = 0;
  // 1 for a text without words: nothing in it is in another language.
  double share() const { return words > 0 ? in_target / words : 1; }
};

// `language` is one of language_names(); throws Error for any other. Time is linear in the text.
LanguageCount count_language(std::string_view text, std::string_view language);

// The share for the thought of a response; for all of it if it has no thought.
double language_consistency(std::string_view response, std::string_view language);

}  // namespace r1
