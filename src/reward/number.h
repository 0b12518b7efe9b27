// reward/number.h: checking an answer that is one number, exactly. Total: any bytes give a verdict.
//
//   number    = [sign] [currency] amount [currency | %] [.]         or the currency before the sign
//   amount    = integer / integer | decimal [e [sign] digits] | [integer] frac
//   decimal   = integer [. [digits]] | . digits
//   integer   = digits, or digits in groups of three: 7,425,000 (also {,} \, ,\! and narrow or fixed spaces)
//   frac      = \frac{a}{b}, also \dfrac, \tfrac, \cfrac; a and b are decimals with a sign; \frac12 is 1/2
//
// - Wrappers around all of it ($...$, \(...\), \boxed{...}; answer_text.h) and white space count for nothing.
// - Zeros in front count for nothing: 016 is 16. So do digits that are not needed: 1.50 is 3/2.
// - 6/4, 3/2, 1.5 and \frac{3}{2} are one value; 3\frac{1}{2} is 7/2.
// - A currency sign ($ \$ € £ ¥ ₹) counts for nothing.
// - A percent sign (% \%) divides by 100: 50% is 0.5 and 1/2, and it is not 50. A gold is read in the same
//   way, so a gold "50%" is met by 50%, 0.5 and 1/2.
// - A comma that is no separator of thousands ends the number: "7,42" and "1,2" are no numbers.
// - Refused, because it is not one value: units ("17 minutes"), words, a second number, an expression such
//   as "4*6".
#pragma once

#include <string>
#include <string_view>

#include "reward/math/fraction.h"
#include "reward/response.h"
#include "reward/verdict.h"

namespace r1 {

class Json;

inline constexpr size_t kMaxNumberBytes = 1024;
inline constexpr int kMaxNumberExponent = 1000;

struct NumberText {
  // Empty if it was read, else one of: empty, too_long, not_a_number, number_too_large (an exponent beyond
  // kMaxNumberExponent), bad_fraction, division_by_zero, trailing_text (anything after the number).
  std::string_view why;
  Fraction value;
  bool ok() const { return why.empty(); }
};

NumberText read_number(std::string_view text);

// A gold that is a number or a string, as it was written in its file: 0.10 stays "0.10". Error for another
// kind.
std::string gold_text(const Json& gold);

// Correct: the response has an answer (response.h) and it is the gold number. `why` is "ok", one of
// response.h's reasons, bad_number:<one of the above> or wrong_value. Throws Error if the gold, a JSON number
// or a string, is no number.
AnswerJudge number_judge(const Json& gold);

// Gold {"unknown":"x","value":"7/2"}. The answer is the number, or "x = number".
AnswerJudge equation_judge(const Json& gold);

// The reason of a judged answer: "ok", bad_number:<...> or wrong_value.
std::string judge_number(std::string_view answer, const Fraction& gold);

}  // namespace r1
