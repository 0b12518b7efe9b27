// reward/language.h: measures how much of a text is in one language: the language consistency of R1
// (2501.12948, 2.3.2), "the proportion of target language words in the CoT".
//
// A word is a run of letters of one script. In scripts without spaces between words (Han, kana, Thai, Lao,
// Khmer, Burmese) every two characters count as one word. Numbers, tags such as <think>, LaTeX commands
// (\frac), and single letters in a script with spaces (variables) are not counted.
//
// A word counts for the target if it is in the target's script and does not belong to another language of
// that script. Lists of the most frequent words (the, der, les, ...) of en, fr, de, es, it, pt and nl decide
// this. A word that is frequent in the target alone belongs to the target; a word that is frequent only in
// others belongs to another language. Every other word is treated like the nearest decided word before it on
// its line, or else after it. On a line without decided words it counts for the target.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace r1 {

// Returns ar, bn, de, el, en, es, fr, he, hi, it, ja, ka, ko, nl, pt, ru, ta, te, th, uk, zh.
const std::vector<std::string>& language_names();

struct LanguageCount {
  double words = 0, in_target = 0;
  // Returns 1 for a text without words, because nothing in it is in another language.
  double share() const { return words > 0 ? in_target / words : 1; }
};

// Counts the words of a text. Throws Error if `language` is not one of language_names(). Time is linear in
// the text.
LanguageCount count_language(std::string_view text, std::string_view language);

// Returns the share for the thought of a response, or for the whole response if it has no thought.
double language_consistency(std::string_view response, std::string_view language);

}  // namespace r1
