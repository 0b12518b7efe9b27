// eval/summary.cc: computes the figures from judged samples.
#include <algorithm>
#include <cmath>

#include "base/interval.h"
#include "eval/evaluate.h"

namespace r1 {
double pass_at_k(int64_t samples, int64_t correct, int64_t k) {
  R1_CHECK(k >= 1 && k <= samples && correct >= 0 && correct <= samples, "k ", k, " samples ", samples,
           " correct ", correct);
  if (samples - correct < k) return 1.0;
  // C(n - c, k) / C(n, k) is computed as a product, so that nothing overflows.
  double all_wrong = 1.0;
  for (int64_t i = 0; i < k; ++i) {
    all_wrong *= static_cast<double>(samples - correct - i) / static_cast<double>(samples - i);
  }
  return 1.0 - all_wrong;
}

void summarise(EvalResult& result) {
  const double n = static_cast<double>(result.problems);
  R1_CHECK(
      result.problems > 0 && static_cast<int64_t>(result.rows.size()) == result.problems * result.samples,
      "rows ", result.rows.size(), " of ", result.problems, " x ", result.samples);
  std::vector<int64_t> correct(static_cast<size_t>(result.problems));
  const double rows = static_cast<double>(result.rows.size());
  int64_t well_formed = 0, truncated = 0, thinking = 0, right = 0;
  result.tokens = 0;
  for (const EvalSample& row : result.rows) {
    result.tokens += row.tokens;
    well_formed += row.verdict.well_formed ? 1 : 0;
    truncated += row.finish == FinishReason::length ? 1 : 0;
    if (!row.verdict.correct) continue;
    ++correct[static_cast<size_t>(row.problem)];
    ++right;
    thinking += row.thinking;
  }
  result.mean_length = static_cast<double>(result.tokens) / rows;
  result.mean_thinking = right == 0 ? 0 : static_cast<double>(thinking) / static_cast<double>(right);
  result.well_formed = static_cast<double>(well_formed) / rows;
  result.truncated = static_cast<double>(truncated) / rows;
  result.pass_at_1 = static_cast<double>(right) / rows;
  double squares = 0;
  for (const int64_t c : correct) {
    const double d = static_cast<double>(c) / static_cast<double>(result.samples) - result.pass_at_1;
    squares += d * d;
  }
  // Counts are compared, because the squares of equal shares may differ from 0 by rounding.
  const bool alike = std::ranges::all_of(correct, [&](int64_t c) { return c == correct.front(); });
  const bool all_or_none = right == 0 || right == static_cast<int64_t>(result.rows.size());
  if (alike && (result.problems > 1 || all_or_none)) {
    const Interval interval = wilson_interval(result.pass_at_1, n);
    result.low = interval.low;
    result.high = interval.high;
  } else {
    const double half = result.problems < 2 ? 1.0 : kZ95 * std::sqrt(squares / (n * (n - 1)));
    result.low = std::max(0.0, result.pass_at_1 - half);
    result.high = std::min(1.0, result.pass_at_1 + half);
  }
  result.pass_at.clear();
  for (int64_t k = 1;; k = std::min(2 * k, result.samples)) {
    double sum = 0;
    for (const int64_t c : correct) sum += pass_at_k(result.samples, c, k);
    result.pass_at.push_back({k, sum / n});
    if (k == result.samples) break;
  }
}

Json to_json(const EvalResult& result) {
  Json json = Json::object();
  json.set("problems", result.problems).set("samples", result.samples);
  for (const PassAtK& p : result.pass_at) json.set("pass_at_" + std::to_string(p.k), p.value);
  json.set("low", result.low).set("high", result.high);
  json.set("mean_length", result.mean_length).set("mean_thinking", result.mean_thinking);
  json.set("truncated", result.truncated).set("well_formed", result.well_formed);
  json.set("tokens", result.tokens).set("seconds", result.seconds);
  json.set("tokens_per_s", result.tokens_per_s());
  return json;
}

Json sample_row(const Problem& problem, const EvalSample& sample) {
  Json row = Json::object();
  row.set("problem", sample.problem).set("sample", sample.sample).set("task", problem.task);
  row.set("question", problem.question).set("gold", problem.gold).set("text", sample.text);
  if (sample.prompt_opened) row.set("prompt_opened", true);
  row.set("correct", sample.verdict.correct)
      .set("well_formed", sample.verdict.well_formed)
      .set("why", sample.verdict.why);
  row.set("finish_reason", name_of(sample.finish))
      .set("tokens", sample.tokens)
      .set("thinking_tokens", sample.thinking);
  return row;
}

EvalSample sample_of_row(const Json& row) {
  EvalSample sample;
  sample.problem = row.get_int("problem");
  sample.sample = row.get_int("sample");
  sample.text = row.get_string("text");
  sample.prompt_opened = row.get_bool_or("prompt_opened", false);
  sample.verdict.correct = row.get_bool("correct");
  sample.verdict.well_formed = row.get_bool("well_formed");
  sample.verdict.why = row.get_string("why");
  sample.finish = finish_from_name(row.get_string("finish_reason"));
  sample.tokens = row.get_int("tokens");
  sample.thinking = row.get_int("thinking_tokens");
  return sample;
}

}  // namespace r1
