#include "reward/scorer.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "formats/json.h"
#include "formats/shown.h"

namespace r1 {

ScoreAnswer read_score(const Json& answer) {
  ScoreAnswer out;
  const auto failed = [&](std::string why) {
    out.status = SampleStatus::verifier_failed;
    out.why = std::move(why);
    return out;
  };
  try {
    if (const Json* error = answer.find("error"); error != nullptr && !error->is_null())
      return failed(fmt::format("it says: {}", error->is_string() ? error->string() : error->dump()));
    const Json* score = answer.find("score");
    if (score == nullptr) return failed("its answer has no score: " + shown(answer.dump()));
    out.score = score->number();
    if (!std::isfinite(out.score)) return failed("its score is not a finite number");
    if (const Json* correct = answer.find("correct"); correct != nullptr && !correct->is_null())
      out.correct = correct->boolean();
    out.why = answer.get_string_or("why", "");
    out.status = answer.get_bool_or("refused", false) ? SampleStatus::refused : SampleStatus::scored;
    return out;
  } catch (const Error& e) {
    return failed(fmt::format("its answer {}", e.what()));
  }
}

std::string repeated_answers(const std::string& judge, int64_t rows, const std::string& last_id) {
  return fmt::format("{}: {} row{} answered more than once, the last {}; the first answer counts", judge,
                     rows, rows == 1 ? " was" : "s were", last_id);
}

}  // namespace r1
