#include "reward/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <string>

#include "base/error.h"
#include "formats/json.h"
#include "reward/calendar.h"
#include "reward/countdown.h"
#include "reward/digits.h"
#include "reward/json_verifier.h"
#include "reward/math/math_verifier.h"
#include "reward/number.h"
#include "reward/pattern_verifier.h"
#include "reward/response.h"
#include "reward/roles.h"
#include "reward/text_verifier.h"

namespace r1 {
namespace {

using VerifyResponse = std::function<Verdict(std::string_view response)>;

// The answer is where response.h says.
template <AnswerJudge (*make_judge)(const Json& gold)>
VerifyResponse tagged(const Json& gold) {
  return [judge = make_judge(gold)](std::string_view response) { return judge_response(response, judge); };
}

AnswerJudge countdown_gold(const Json& gold) {
  return countdown_judge(countdown_of(gold));
}

AnswerJudge expression_gold(const Json& gold) {
  return expression_judge(gold_text(gold));
}

VerifyResponse free_text(const Json& gold) {
  const auto verifier = std::make_shared<const MathVerifier>(gold_text(gold));
  return [verifier](std::string_view response) {
    Verdict verdict = verifier->verify(response);
    verdict.well_formed = read_response(response).well_formed();
    return verdict;
  };
}

template <class Kind>
VerifyResponse anywhere(const Json& gold) {
  const auto verifier = std::make_shared<const Kind>(gold);
  return [verifier](std::string_view response) { return verifier->verify(response); };
}

struct Row {
  std::string_view name;
  VerifyResponse (*make)(const Json& gold);
};

constexpr auto kVerifiers = std::to_array<Row>({
    {"countdown", tagged<countdown_gold>},
    {"expression", tagged<expression_gold>},
    {"number", tagged<number_judge>},
    {"equation", tagged<equation_judge>},
    {"digits", tagged<digits_judge>},
    {"calendar", tagged<calendar_judge>},
    {"roles", tagged<roles_judge>},
    {"math", free_text},
    {"text", anywhere<TextVerifier>},
    {"regex", anywhere<PatternVerifier>},
    {"json", anywhere<JsonVerifier>},
});

VerifyResponse make(std::string_view task, const Json& gold) {
  const std::string_view name = verifier_name(task);
  const auto row = std::ranges::find(kVerifiers, name, &Row::name);
  R1_CHECK(row != kVerifiers.end(), "task ", task, " wants verifier ", name);
  return row->make(gold);
}

// The reasons of response.h, free_answer.h and the verifiers for an answer that is missing or cannot be read.
SampleStatus status_of(const Verdict& verdict) {
  constexpr auto kUnread = std::to_array<std::string_view>(
      {"no_think", "text_before_think", "repeated_tag", "tags_out_of_order", "truncated", "no_answer",
       "text_before_answer", "text_after_answer", "too_long", "not_readable", "not_json"});
  if (verdict.why == "verifier_failed" || verdict.why == "pattern_gave_up")
    return SampleStatus::verifier_failed;
  const bool unread =
      verdict.why.starts_with("bad_") || std::ranges::find(kUnread, verdict.why) != kUnread.end();
  return unread ? SampleStatus::refused : SampleStatus::scored;
}

Json gold_of(const Problem& problem) {
  verifier_name(problem.task);  // an unknown task is the first thing to say
  return parse_json(problem.gold, fmt::format("gold of task {}", problem.task));
}

}  // namespace

Verdict Verifier::verify(std::string_view response) const {
  Verdict verdict = verify_(response);
  verdict.status = status_of(verdict);
  return verdict;
}

Verifier::Verifier(std::string_view task, const Json& gold) : verify_(make(task, gold)) {}

Verifier::Verifier(const Problem& problem) : Verifier(problem.task, gold_of(problem)) {}

Verdict verify(std::string_view task, const Json& gold, std::string_view response) {
  return Verifier(task, gold).verify(response);
}

Verdict verify(const Problem& problem, std::string_view response) {
  return Verifier(problem).verify(response);
}

std::vector<Verdict> judge(ThreadPool& threads, std::span<const AnswerToJudge> answers) {
  std::vector<Verdict> verdicts(answers.size());
  constexpr int64_t kGrain = 16;  // a verdict takes tens of microseconds
  threads.parallel_for(static_cast<int64_t>(answers.size()), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const AnswerToJudge& answer = answers[static_cast<size_t>(i)];
      try {
        verdicts[static_cast<size_t>(i)] = answer.verifier->verify(answer.response);
      } catch (const std::exception&) {
        Verdict& verdict = verdicts[static_cast<size_t>(i)] = {};
        verdict.why = "verifier_failed";
        verdict.status = SampleStatus::verifier_failed;
      }
    }
  });
  return verdicts;
}

}  // namespace r1
