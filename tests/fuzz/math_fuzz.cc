// Golds and answers in free text: any bytes give a verdict, the gold answers itself, and the exact value of a
// readable sum does not depend on the order of its terms.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "reward/math/compare.h"
#include "reward/math/evaluate.h"
#include "reward/math/extract.h"
#include "reward/math/math_verifier.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

// The first line is the gold and the rest is the answer.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = text.find('\n');
  const std::string_view gold = text.substr(0, line);
  const std::string_view answer = line == std::string_view::npos ? text : text.substr(line + 1);

  for (const r1::math::Candidate& candidate : r1::math::candidates_of(text)) require(!candidate.text.empty());
  (void)r1::math::choice_of(text);
  (void)r1::plain_form(text);

  if (const auto node = r1::math::parse_notation(gold)) {
    const std::string_view self = r1::math::compare(*node, *node);
    require(self == "ok" || self == "too_complex" || self == "not_a_value" || self == "division_by_zero" ||
            self == "wrong_kind");
    r1::math::Algebra algebra;
    try {
      const r1::math::Ratio value = r1::math::evaluate(algebra, *node);
      const r1::math::Ratio difference = algebra.subtract(value, value);
      require(difference.num.is_zero());
      require(algebra.equal(value, algebra.negate(algebra.negate(value))));
    } catch (const r1::math::NotEvaluated& refusal) {
      require(!refusal.why.empty());
    }
  }
  try {
    const r1::MathVerifier verifier(gold);
    const r1::Verdict verdict = verifier.verify(answer);
    require(verdict.correct == (verdict.why == "ok") && !verdict.why.empty());
  } catch (const r1::Error& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
