// reward/math/math_verifier.h: is the final answer in a text the gold answer?
//
// The gold is read once; verify may then be called from any thread. Answers are read as extract.h says and compared as
// compare.h says; dates, choices (A to J) and words are compared as such. Total: any bytes give a verdict, in bounded
// time and memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

class Json;

struct MathOptions {
  bool percent_is_a_unit = true;  // 50% answers a gold 50; see compare.h
  int decimals = -1;              // >= 0: real values are compared to this many decimals
  bool latex = true, numbers = true;
  bool choices = false;  // gold and answer are choices A to J
};

// {"match_types": ["latex", "expr", "NativeLetters"], "precision": 4, "percent": "value" | "unit", "language": ...}.
// Throws Error for another field or value.
MathOptions read_math_options(const Json& options);

class MathVerifier {
 public:
  // Throws Error if the gold is empty or longer than kMaxGoldBytes. Any other gold can be met, if only by the same text.
  explicit MathVerifier(std::string_view gold, const MathOptions& options = {});
  ~MathVerifier();
  MathVerifier(MathVerifier&&) noexcept;

  // why: "ok", no_answer (nothing that could be one), not_readable (no notation known here, and not the gold's text), or
  // compare.h's reasons.
  std::string judge(std::string_view text) const;
  Verdict verify(std::string_view text) const;  // well_formed: there is an answer that could be read

  static constexpr size_t kMaxGoldBytes = 1 << 16;

 private:
  struct Gold;
  std::string judge_reading(std::string_view reading) const;

  std::unique_ptr<const Gold> gold_;
  MathOptions options_;
};

// Text that differs only in spelling has one form: \dfrac and \tfrac are \frac, \frac12 is \frac{1}{2}; spaces, \left,
// \right and wrappers vanish. Two answers of one form are the same answer, also if they cannot be read as notation.
std::string spelling_form(std::string_view text);

// The same without what graders strip besides: units and articles, a name and "=", degree, percent and currency signs;
// 1/2 and 0.5 are \frac{1}{2}. For showing answers and for grouping them, not for judging: 50% and 50 have one form.
std::string plain_form(std::string_view text);

}  // namespace r1
