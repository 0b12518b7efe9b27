#include "reward/reward.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "formats/json.h"
#include "reward/free_answer.h"
#include "reward/http_scorer.h"
#include "reward/program/program_pool.h"
#include "reward/response.h"
#include "reward/verifier.h"

namespace r1 {

struct Reward::Outside {
  std::string name;
  double weight = 1, threshold = 1;
  bool truncated = false;
  std::unique_ptr<Scorer> scorer;
};

namespace {

Verdict cut_off() {
  Verdict verdict;
  verdict.why = "truncated";
  verdict.status = SampleStatus::refused;
  return verdict;
}

RowToScore row_of(const RewardSample& sample) {
  const Problem& problem = *sample.problem;
  const FreeAnswer answer = free_answer(sample.response);
  Json row = Json::object();
  row.set("id", sample.id).set("task", problem.task).set("question", problem.question);
  row.set("gold", problem.gold.empty() ? Json() : parse_json(problem.gold, "gold"));
  row.set("response", sample.response).set("answer", answer.why.empty() ? Json(answer.text) : Json());
  row.set("truncated", !sample.ended).set("tokens", sample.tokens);
  return {.id = sample.id, .json = row.dump()};
}

}  // namespace

Reward::Reward(const RewardConfig& config, int64_t cap) : config_(config), terms_(make_terms(config, cap)) {
  for (const ProgramConfig& p : config.programs)
    outside_.push_back({p.name, p.weight, p.threshold, p.truncated, std::make_unique<ProgramPool>(p)});
  for (const HttpConfig& h : config.endpoints)
    outside_.push_back({h.name, h.weight, h.threshold, h.truncated, std::make_unique<HttpScorer>(h)});
  for (const WeightedTerm& term : terms_) {
    names_.push_back(term.name);
    weights_.push_back(term.weight);
  }
  for (const Outside& o : outside_) {
    names_.push_back(o.name);
    weights_.push_back(o.weight);
  }
}

Reward::~Reward() = default;

std::vector<Verdict> Reward::verdicts(ThreadPool& threads, std::span<const RewardSample> samples) const {
  std::vector<Verdict> out;
  if (config_.decided_outside()) {
    for (const RewardSample& sample : samples)
      out.push_back(sample.ended ? format_verdict(read_response(sample.response)) : cut_off());
    return out;
  }
  std::map<const Problem*, Verifier> verifiers;
  std::vector<AnswerToJudge> answers;
  for (const RewardSample& sample : samples) {
    auto at = verifiers.find(sample.problem);
    if (at == verifiers.end()) at = verifiers.emplace(sample.problem, Verifier(*sample.problem)).first;
    if (sample.ended) answers.push_back({&at->second, sample.response});
  }
  std::vector<Verdict> judged = r1::judge(threads, answers);
  for (size_t next = 0; const RewardSample& sample : samples)
    out.push_back(sample.ended ? std::move(judged[next++]) : cut_off());
  return out;
}

// Appends the scorer's value to every sample's terms.
void Reward::ask(Outside& outside, std::span<const RewardSample> samples, bool decides,
                 std::span<RewardResult> results, const std::function<void()>& tick) const {
  std::vector<RowToScore> rows;
  std::vector<size_t> asked;
  for (size_t i = 0; i < samples.size(); ++i) {
    results[i].terms.push_back(0);
    if (!samples[i].ended && !outside.truncated) continue;
    rows.push_back(row_of(samples[i]));
    asked.push_back(i);
  }
  const std::vector<ScoreAnswer> answers = outside.scorer->ask(rows, tick);
  for (size_t k = 0; k < answers.size(); ++k) {
    const ScoreAnswer& answer = answers[k];
    RewardResult& result = results[asked[k]];
    Verdict& verdict = result.verdict;
    if (answer.status == SampleStatus::verifier_failed) {
      if (!result.failed()) verdict.why = "verifier_failed: " + answer.why;
      verdict.status = answer.status;
      verdict.correct = false;
      continue;
    }
    result.terms.back() = answer.score;
    if (!decides || result.failed() || !samples[asked[k]].ended) continue;
    verdict.status = answer.status;
    verdict.correct =
        answer.status == SampleStatus::scored && answer.correct.value_or(answer.score >= outside.threshold);
    verdict.why = !answer.why.empty() ? answer.why : verdict.correct ? "ok" : "wrong";
  }
}

// Inserts the values of term.h's terms before those of programs and endpoints, and computes the sums.
void Reward::add_up(std::span<const RewardSample> samples, std::span<RewardResult> results) const {
  std::vector<TermSample> group;
  for (size_t i = 0; i < samples.size(); ++i) {
    const Verdict& v = results[i].verdict;
    group.push_back({samples[i].response, v.correct, v.well_formed, samples[i].tokens, results[i].failed()});
  }
  std::vector<std::vector<double>> values;
  for (const WeightedTerm& term : terms_) values.push_back(term.term->values(group));
  for (size_t i = 0; i < samples.size(); ++i) {
    RewardResult& result = results[i];
    std::vector<double> own;
    for (const auto& term : values) own.push_back(term[i]);
    result.terms.insert(result.terms.begin(), own.begin(), own.end());
    if (result.failed()) continue;
    result.total = weights_[0] * result.terms[0];
    for (size_t t = 1; t < weights_.size(); ++t) result.total += weights_[t] * result.terms[t];
  }
}

std::vector<RewardResult> Reward::judge(ThreadPool& threads, std::span<const RewardSample> samples,
                                        std::span<const int64_t> groups, const std::function<void()>& tick) {
  const int64_t in_groups = std::accumulate(groups.begin(), groups.end(), int64_t{0});
  R1_CHECK(in_groups == std::ssize(samples), samples.size(), " samples, ", in_groups, " in groups");
  std::vector<RewardResult> results(samples.size());
  std::vector<Verdict> all = verdicts(threads, samples);
  for (size_t i = 0; i < samples.size(); ++i) results[i].verdict = std::move(all[i]);
  for (Outside& outside : outside_)
    ask(outside, samples, config_.decided_outside() && &outside == &outside_.front(), results, tick);
  std::vector<int64_t> begins;
  for (int64_t begin = 0; const int64_t size : groups) {
    begins.push_back(begin);
    begin += size;
  }
  threads.parallel_for(std::ssize(groups), 1, [&](int64_t first, int64_t last) {
    for (int64_t g = first; g < last; ++g) {
      const auto begin = static_cast<size_t>(begins[static_cast<size_t>(g)]);
      const auto size = static_cast<size_t>(groups[static_cast<size_t>(g)]);
      add_up(samples.subspan(begin, size), std::span(results).subspan(begin, size));
    }
  });
  return results;
}

std::vector<std::string> Reward::take_notes() {
  std::vector<std::string> notes;
  for (Outside& outside : outside_) {
    for (std::string& note : outside.scorer->take_notes()) notes.push_back(std::move(note));
  }
  return notes;
}

std::vector<Verdict> verdicts_of(Reward& reward, ThreadPool& threads, std::span<const RewardSample> samples) {
  const std::vector<int64_t> groups(samples.size(), 1);
  std::vector<Verdict> verdicts;
  for (RewardResult& result : reward.judge(threads, samples, groups))
    verdicts.push_back(std::move(result.verdict));
  return verdicts;
}

}  // namespace r1
