// cli/verify.cc: `r1 verify`: checks predictions against gold answers. Rows and results:
//
//   {"gold": text or a number, "pred": free text, "options"?: see reward/math/math_verifier.h}  {"correct", "why"}
//   {"gold": "24" or an expression, "pred": an expression, "options": {"numbers": [...]}}       {"correct", "why"}
//   {"gold": {"numbers": [...], "target": N}, "pred": a whole response}                         {"correct", "why"}
//   {"task": NAME, "gold": as data/task.h says, "pred": a whole response}                       {"correct", "why"}
//   {"reward": "format", "text": a whole response}                                              {"score"}
//
// "prompt_opened": true means that the prompt of a whole response ended with <think> (text/think.h).
//
// A field that the row's kind does not have is an error of the row.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/text_util.h"
#include "cli/common.h"
#include "cli/output.h"
#include "data/task.h"
#include "formats/shown.h"
#include "reward/countdown.h"
#include "reward/math/math_verifier.h"
#include "reward/number.h"
#include "reward/response.h"
#include "reward/verifier.h"
#include "text/think.h"

namespace r1 {
namespace {

std::vector<int> numbers_of(const Json& options) {
  std::vector<int> numbers;
  for (const auto& [key, value] : options.members()) {
    if (key != "numbers") value.fail("cannot be given together with numbers");
    for (const Json& item : value.items()) {
      const int64_t number = item.integer();
      if (number < 0 || number > INT32_MAX)
        item.fail(fmt::format("is {}; it must be between 0 and {}", number, INT32_MAX));
      numbers.push_back(static_cast<int>(number));
    }
  }
  return numbers;
}

// The field's text as a whole response, with the <think> of the prompt in front.
std::string response_of(const Json& row, std::string_view field) {
  const bool opened = row.get_bool_or("prompt_opened", false);
  return whole_response(row.get_string(field), opened ? kThinkOpen : "");
}

void check_fields(const Json& row, std::span<const std::string> known) {
  for (const auto& [key, value] : row.members()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    const std::string nearest = nearest_name(key, known);
    throw Error(fmt::format("unknown field {} ({})", shown(key),
                            nearest.empty() ? fmt::format("known: {}", fmt::join(known, ", "))
                                            : fmt::format("did you mean {}?", nearest)));
  }
}

Json answer_row(const Json& row) {
  static const std::vector<std::string> kOfReward{"reward", "text", "prompt_opened"};
  static const std::vector<std::string> kOfAnswer{"task", "gold", "pred", "options", "prompt_opened"};
  Json out = Json::object();
  if (const Json* reward = row.find("reward")) {
    if (reward->string() != "format")
      reward->fail("is \"" + reward->string() + "\": only \"format\" is known in this build");
    check_fields(row, kOfReward);
    out.set("score", read_response(response_of(row, "text")).well_formed() ? 1.0 : 0.0);
    return out;
  }
  if (const Json* code = row.find("code")) code->fail("is given: this build runs no code");
  check_fields(row, kOfAnswer);
  const Json& gold = row.at("gold");
  const Json* options = row.find("options");
  Verdict verdict;
  if (const Json* task = row.find("task")) {
    if (options != nullptr && !options->is_null()) options->fail("is of expressions: a task has no options");
    verdict = verify(task->string(), gold, response_of(row, "pred"));
  } else if (gold.is_object()) {
    verdict = verify_countdown(countdown_of(gold), response_of(row, "pred"));
  } else if (options == nullptr || options->is_null() || !options->contains("numbers")) {
    const bool given = options != nullptr && !options->is_null();
    const MathVerifier verifier(gold_text(gold), given ? read_math_options(*options) : MathOptions());
    verdict = verifier.verify(response_of(row, "pred"));
  } else {
    if (row.get_bool_or("prompt_opened", false))
      row.at("prompt_opened").fail("is true, but pred is not a whole response here: name the task");
    const std::vector<int> numbers = numbers_of(*options);
    verdict = verify_expression(gold_text(gold), row.get_string("pred"), numbers);
  }
  out.set("correct", verdict.correct).set("why", verdict.why);
  return out;
}

}  // namespace

int run_verify(const VerifyOptions& options) {
  check_common(options.common);
  return answer_rows(options.input, answer_row);
}

}  // namespace r1
