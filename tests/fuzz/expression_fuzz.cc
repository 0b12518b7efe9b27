// Expressions, whole responses, and typed questions: any bytes give a value or a reason.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/countdown_question.h"
#include "data/expression_tree.h"
#include "reward/countdown.h"
#include "reward/expression.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  const r1::Evaluated evaluated = r1::evaluate_expression(text);
  require(evaluated.where <= size);
  require(!evaluated.ok() || (evaluated.value.den >= 1 && !evaluated.numbers.empty()));
  const r1::Evaluated decimal = r1::evaluate_expression(text, r1::Decimals::read);
  require(decimal.where <= size && (!evaluated.ok() || decimal.value == evaluated.value));

  static const r1::CountdownProblem problem{.numbers = {3, 5, 7}, .target = 26};
  const r1::Verdict verdict = r1::verify_countdown(problem, text);
  require(verdict.correct == (verdict.why == "ok"));
  require(!verdict.correct || verdict.well_formed || text.find("\\boxed") != std::string_view::npos ||
          text.find("\\fbox") != std::string_view::npos);

  const r1::Verdict against = r1::verify_expression("26", text, problem.numbers);
  require(against.correct == (against.why == "ok"));

  if (const auto asked = r1::parse_question(text)) {
    require(asked->numbers.size() >= 2 && asked->numbers.size() <= r1::kMaxCountdownNumbers);
    require(r1::parse_question(r1::ask(*asked, static_cast<int>(size % r1::kPhrasings))) == asked);
  }
  return 0;
}
