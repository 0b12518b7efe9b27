// reward/math/math_verifier.h: decides whether the final answer in a text is the gold answer.
//
// The gold is read once; verify may then be called from any thread. Answers are found by extract.h and
// compared by compare.h. Dates, choices (A to J) and words are compared as such. Any bytes give a verdict, in
// bounded time and memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "reward/verdict.h"

namespace r1 {

class Json;

struct MathOptions {
  bool percent_is_a_unit = true;  // 50% answers a gold of 50 (compare.h)
  int decimals = -1;              // if >= 0, real values are compared to this many decimals
  bool latex = true, numbers = true;
  bool choices = false;  // gold and answer are choices from A to J
};

// Reads {"match_types": ["latex", "expr", "NativeLetters"], "precision": 4, "percent": "value" | "unit",
// "language": ...}. Throws Error for another field or value.
MathOptions read_math_options(const Json& options);

class MathVerifier {
 public:
  // Throws Error if the gold is empty or longer than kMaxGoldBytes. Every other gold is answered at least by
  // the same text.
  explicit MathVerifier(std::string_view gold, const MathOptions& options = {});
  ~MathVerifier();
  MathVerifier(MathVerifier&&) noexcept;

  // Returns "ok", no_answer (the text has no candidate), not_readable (no candidate is known notation or the
  // gold's own text), or a reason of compare.h.
  std::string judge(std::string_view text) const;
  Verdict verify(std::string_view text) const;  // well_formed: an answer was found and could be read

  static constexpr size_t kMaxGoldBytes = 1 << 16;

 private:
  struct Gold;
  std::string judge_reading(std::string_view reading) const;

  std::unique_ptr<const Gold> gold_;
  MathOptions options_;
};

// Returns the same form for texts that differ only in spelling: \dfrac and \tfrac become \frac, \frac12
// becomes \frac{1}{2}; spaces, \left, \right and wrappers are removed. Answers with equal forms are equal,
// even if they cannot be read as notation.
std::string spelling_form(std::string_view text);

// Returns the spelling form without the parts that graders also strip: units, articles, a name with "=", and
// degree, percent and currency signs. 1/2 and 0.5 become \frac{1}{2}. The form serves for showing and
// grouping answers, not for judging them: 50% and 50 have the same form.
std::string plain_form(std::string_view text);

}  // namespace r1
