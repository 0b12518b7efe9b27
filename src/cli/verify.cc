// cli/verify.cc: `r1 verify`: checks predictions against gold answers. Rows and results:
//
//   {"gold": text or a number, "pred": free text, "options"?: see reward/math/math_verifier.h}  {"correct", "why"}
//   {"gold": "24" or an expression, "pred": an expression, "options": {"numbers": [...]}}       {"correct", "why"}
//   {"gold": {"numbers": [...], "target": N}, "pred": a whole response}                         {"correct", "why"}
//   {"task": NAME, "gold": see Problem::gold in data/task.h, "pred": a whole response}          {"correct", "why"}
//   {"reward": NAME, "text": a whole response, ...}                                             {"score"}
//     format                                      1 if the response is well formed, else 0
//     language, "language"?: "en"                 share of the thought's words in the language (reward/language.h)
//     repetition, "words"?: 4                     minus the share of repeated n-grams (reward/repetition.h)
//     length, "tokens"?, "target"?, "others"?: [lengths of the group's other answers], "correct"?: true
//                                                 the term of reward/term.h; without "tokens", words are counted
//
// "prompt_opened": true means that the prompt of a whole response ended with <think> (text/think.h).
//
// A field that the row's kind does not have is an error of the row.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/ascii.h"
#include "base/error.h"
#include "base/text_util.h"
#include "cli/common.h"
#include "cli/output.h"
#include "data/task.h"
#include "formats/shown.h"
#include "reward/countdown.h"
#include "reward/language.h"
#include "reward/math/math_verifier.h"
#include "reward/number.h"
#include "reward/repetition.h"
#include "reward/response.h"
#include "reward/term.h"
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

int64_t integer_in(const Json& row, std::string_view field, int64_t fallback, int64_t low) {
  const int64_t value = row.get_int_or(field, fallback);
  if (value < low) row.at(field).fail(fmt::format("is {}; it must be at least {}", value, low));
  return value;
}

double length_score(const Json& row, const std::string& text) {
  int64_t words = 0;
  for (bool before = true; const char c : text) {
    words += before && !is_blank(c) ? 1 : 0;
    before = is_blank(c);
  }
  std::vector<TermSample> group{{.response = text, .correct = row.get_bool_or("correct", true)}};
  group[0].tokens = integer_in(row, "tokens", std::max<int64_t>(1, words), 1);
  if (const Json* others = row.find("others")) {
    for (const Json& tokens : others->items()) group.push_back({.tokens = tokens.integer()});
  }
  RewardConfig config{.accuracy = 0, .length = 1};
  config.length_target = integer_in(row, "target", 0, 0);
  return make_terms(config, INT32_MAX).back().term->values(group).front();
}

double reward_score(const Json& row, const std::string& name) {
  std::vector<std::string> known{"reward", "text", "prompt_opened"};
  const auto fields = [&](std::initializer_list<const char*> more) {
    known.insert(known.end(), more.begin(), more.end());
    check_fields(row, known);
    return response_of(row, "text");
  };
  if (name == "format") return read_response(fields({})).well_formed() ? 1 : 0;
  if (name == "language") {
    const std::string text = fields({"language"});
    return language_consistency(text, row.get_string_or("language", RewardConfig().language_target));
  }
  if (name == "repetition") {
    const std::string text = fields({"words"});
    const double repeated = repetition_of(text, integer_in(row, "words", kDefaultRepetitionWords, 1));
    return repeated == 0 ? 0 : -repeated;
  }
  if (name == "length") return length_score(row, fields({"tokens", "target", "others", "correct"}));
  row.at("reward").fail(fmt::format("is {}; it must be format, language, repetition or length", shown(name)));
}

Json answer_row(const Json& row) {
  static const std::vector<std::string> kOfAnswer{"task", "gold", "pred", "options", "prompt_opened"};
  Json out = Json::object();
  if (const Json* reward = row.find("reward")) {
    out.set("score", reward_score(row, reward->string()));
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
