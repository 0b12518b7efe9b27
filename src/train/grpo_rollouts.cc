#include "train/grpo_rollouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/text_util.h"
#include "engine/ask.h"
#include "reward/answer.h"
#include "text/think.h"
#include "train/step_loop.h"

namespace r1 {
namespace {

// Round `round` of a step: all its samples, unjudged.
RolloutSet sample_round(const ModelBundle& bundle, Engine& engine, const GrpoConfig& config,
                        const RolloutStep& at, int64_t round, const std::function<bool()>& stop) {
  RolloutSet set;
  const int64_t first_in_step = round * config.prompts;
  for (int64_t i = 0; i < config.prompts; ++i) {
    set.problems.push_back(config.problems->at(at.first_problem + first_in_step + i));
  }
  const Request settings = config.rollout.request({.seed = config.run.seed,
                                                   .step = static_cast<uint32_t>(at.step),
                                                   .prompt = static_cast<uint32_t>(first_in_step)});
  const std::vector<Request> requests = ask(bundle, set.problems, settings, config.prompt);
  set.totals.sampled_tokens = prompt_tokens(requests);
  const auto give_up = [&](const Completion&) {
    if (stop && stop()) throw StepAbandoned();
  };
  for (const Completion& c : engine.run(requests, {}, give_up)) {
    const Request& request = requests[static_cast<size_t>(c.request)];
    Rollout& r = set.rollouts.emplace_back();
    r.problem = c.request;
    r.prompt = request.key.prompt;
    r.sample = c.sample;
    r.opening = request.opening;
    r.add_environment(request.prompt);
    r.add_policy(c.tokens, c.logprobs, at.weights);
    r.finish = c.finish;
    set.totals.sampled_tokens += static_cast<int64_t>(c.tokens.size());
  }
  return set;
}

// Returns a round's samples in the form that the reward judges.
std::vector<RewardSample> samples_of(const ModelBundle& bundle, const RolloutSet& set, int64_t step) {
  std::vector<RewardSample> samples;
  for (const Rollout& r : set.rollouts) {
    const bool ended = r.finish == FinishReason::stop;
    samples.push_back({.problem = &set.problems[static_cast<size_t>(r.problem)],
                       .id = fmt::format("{}/{}/{}", step, r.prompt, r.sample),
                       .response = answered_text(bundle.tokenizer, r.answer(), ended, r.opening),
                       .tokens = r.policy_tokens(),
                       .ended = ended});
  }
  return samples;
}

void count(const ModelBundle& bundle, const Rollout& r, RolloutTotals& totals) {
  constexpr size_t kNamed = 8;
  totals.tokens += r.policy_tokens();
  totals.truncated += r.finish == FinishReason::length ? 1 : 0;
  totals.asked += r.failed() || r.finish == FinishReason::stop ? 1 : 0;
  if (r.failed()) {
    ++totals.failed;
    if (totals.failures.size() < kNamed)
      totals.failures.push_back(fmt::format("prompt {} sample {}: {}", r.prompt, r.sample, r.why));
    return;
  }
  totals.correct += r.correct ? 1 : 0;
  totals.well_formed += r.well_formed ? 1 : 0;
  totals.reward += r.reward;
  if (r.correct) totals.thinking += thinking_tokens(bundle.tokenizer, r.answer(), opens_thought(r.opening));
}

// Verdicts, rewards, and the round's totals.
void judge(const ModelBundle& bundle, Reward& reward, ThreadPool& threads, const GrpoConfig& config,
           int64_t step, const std::function<bool()>& stop, RolloutSet& set) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<RewardSample> samples = samples_of(bundle, set, step);
  const std::vector<int64_t> groups(set.problems.size(), config.rollout.samples);
  const std::vector<RewardResult> results = reward.judge(threads, samples, groups, [&] {
    if (stop && stop()) throw StepAbandoned();
  });
  RolloutTotals& totals = set.totals;
  for (size_t i = 0; i < results.size(); ++i) {
    Rollout& r = set.rollouts[i];
    const Verdict& verdict = results[i].verdict;
    r.correct = verdict.correct;
    r.well_formed = verdict.well_formed;
    r.why = verdict.why;
    r.status = verdict.status;
    r.reward = results[i].total;
    count(bundle, r, totals);
  }
  totals.samples = static_cast<int64_t>(set.rollouts.size());
  totals.problems = config.prompts;
  totals.verify_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Returns true if all samples whose verifier did not fail have the same reward.
bool is_flat(std::span<const Rollout> group) {
  const auto first = std::ranges::find_if(group, [](const Rollout& r) { return !r.failed(); });
  return std::ranges::all_of(group,
                             [&](const Rollout& r) { return r.failed() || r.reward == first->reward; });
}

void add(RolloutTotals& to, const RolloutTotals& from) {
  to.samples += from.samples;
  to.problems += from.problems;
  to.flat_groups += from.flat_groups;
  to.tokens += from.tokens;
  to.sampled_tokens += from.sampled_tokens;
  to.correct += from.correct;
  to.well_formed += from.well_formed;
  to.truncated += from.truncated;
  to.failed += from.failed;
  to.asked += from.asked;
  if (to.failures.empty()) to.failures = from.failures;
  to.thinking += from.thinking;
  to.reward += from.reward;
  to.verify_s += from.verify_s;
}

NothingJudged nothing_judged(const RolloutTotals& totals) {
  return NothingJudged(
      fmt::format("the verifier failed for all {} samples that it was asked about; the first is {}",
                  totals.failed, totals.failures.front()));
}

// Moves group `g` of `from` to the end of `to`.
void take_group(RolloutSet& from, int64_t g, int64_t group, RolloutSet& to) {
  const auto problem = static_cast<int64_t>(to.problems.size());
  to.problems.push_back(std::move(from.problems[static_cast<size_t>(g)]));
  for (int64_t i = g * group; i < (g + 1) * group; ++i) {
    Rollout& r = to.rollouts.emplace_back(std::move(from.rollouts[static_cast<size_t>(i)]));
    r.problem = problem;
  }
}

}  // namespace

RolloutSet collect_rollouts(const ModelBundle& bundle, Engine& engine, Reward& reward, ThreadPool& threads,
                            const GrpoConfig& config, const RolloutStep& at,
                            const std::function<bool()>& stop) {
  RolloutSet kept;
  const int64_t rounds = config.dynamic_filter ? config.filter_rounds : 1;
  for (int64_t round = 0; round < rounds; ++round) {
    RolloutSet set = sample_round(bundle, engine, config, at, round, stop);
    judge(bundle, reward, threads, config, at.step, stop, set);
    std::vector<int64_t> useful;
    for (int64_t g = 0; g < config.prompts; ++g) {
      const auto group = std::span(set.rollouts)
                             .subspan(static_cast<size_t>(g * config.rollout.samples),
                                      static_cast<size_t>(config.rollout.samples));
      const bool flat = is_flat(group);
      set.totals.flat_groups += flat ? 1 : 0;
      if (!flat || !config.dynamic_filter) useful.push_back(g);
    }
    add(kept.totals, set.totals);
    const bool last = round + 1 == rounds;
    if (useful.empty() && last && kept.problems.empty()) {
      for (int64_t g = 0; g < config.prompts; ++g) useful.push_back(g);
    }
    for (const int64_t g : useful) {
      if (static_cast<int64_t>(kept.problems.size()) < config.prompts)
        take_group(set, g, config.rollout.samples, kept);
    }
    if (static_cast<int64_t>(kept.problems.size()) == config.prompts) break;
  }
  const RolloutTotals& t = kept.totals;
  if (t.failed > 0 && t.failed == t.asked && (t.failed >= kTooManyFailures || t.failed == t.samples))
    throw nothing_judged(t);
  std::vector<double> rewards;
  std::vector<bool> failed;
  for (const Rollout& r : kept.rollouts) {
    rewards.push_back(r.reward);
    failed.push_back(r.failed());
  }
  const std::vector<double> advantages =
      group_advantages(rewards, failed, config.rollout.samples, config.loss.normalise);
  for (size_t i = 0; i < rewards.size(); ++i) {
    Rollout& r = kept.rollouts[i];
    r.advantage = advantages[i];
    r.masked = r.failed() || (config.mask_overlong && r.finish == FinishReason::length);
  }
  return kept;
}

namespace {

// Returns the segments behind the prompt. Positions count in the row's "tokens".
Json segments_json(const Rollout& r) {
  Json list = Json::array();
  const int64_t prompt = r.segments.front().tokens.end;
  for (const RolloutSegment& s : std::span(r.segments).subspan(1)) {
    list.push_back(Json::object()
                       .set("begin", s.tokens.begin - prompt)
                       .set("end", s.tokens.end - prompt)
                       .set("by", s.policy ? "policy" : "environment"));
  }
  return list;
}

}  // namespace

Json rollout_row(const Rollout& r, const Problem& problem, int64_t step, const std::string& weights,
                 const Tokenizer& tokenizer, const GrpoConfig& config) {
  Json logprobs = Json::array();
  for (const float lp : r.old_logprobs) logprobs.push_back(hex_float(lp));
  Json row = Json::object();
  row.set("step", step).set("prompt", static_cast<int64_t>(r.prompt)).set("sample", r.sample);
  row.set("task", problem.task).set("question", problem.question).set("gold", problem.gold);
  row.set("text", response_text(tokenizer, r.answer()));
  if (opens_thought(r.opening)) row.set("prompt_opened", true);
  row.set("prompt_tokens", Json::array_of(r.prompt_tokens()));
  row.set("tokens", Json::array_of(r.answer()));
  if (r.segments.size() > 2) row.set("segments", segments_json(r));
  row.set("logprobs", std::move(logprobs));
  row.set("temperature", shortest_number(config.rollout.params.temperature));
  if (config.critic) {
    Json values = Json::array(), advantages = Json::array(), returns = Json::array();
    for (const float v : r.values) values.push_back(hex_float(v));
    for (const double a : r.advantages) advantages.push_back(a);
    for (const double to : r.returns) returns.push_back(to);
    row.set("values", std::move(values)).set("advantages", std::move(advantages));
    row.set("returns", std::move(returns));
  }
  row.set("reward", r.reward).set("advantage", r.advantage).set("correct", r.correct).set("why", r.why);
  row.set("status", name_of(r.status));
  row.set("finish_reason", name_of(r.finish))
      .set("numerics", name_of(config.run.numerics))
      .set("weights_sha256", weights);
  return row;
}

}  // namespace r1
