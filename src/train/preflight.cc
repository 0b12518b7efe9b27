#include "train/preflight.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "train/grpo_rollouts.h"
#include "train/grpo_step.h"
#include "train/step_loop.h"

namespace r1 {
namespace {

constexpr int64_t kProbeTokens = 64;      // answer tokens of the first group, which is timed
constexpr double kShareOfSampling = 0.8;  // of `seconds`; the rest is for the micro-batch
constexpr double kMicroBatchSeconds = 2;  // approximate limit for the timed micro-batch
constexpr double kTrainingCost = 3;       // cost of a trained token (forward and backward), with prefill as 1
constexpr int64_t kLeastMicroBatch = 256;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

GroupTally tally(std::span<const Rollout> group) {
  GroupTally t;
  t.samples = std::ssize(group);
  int64_t judged = 0;
  for (const Rollout& r : group) judged += r.failed() ? 0 : 1;
  t.verifier_failed = t.samples - judged;
  double squares = 0, first = 0;
  bool any = false;
  for (const Rollout& r : group) {
    const int64_t tokens = r.policy_tokens();
    t.right += r.correct ? 1 : 0;
    t.well_formed += r.well_formed ? 1 : 0;
    t.truncated += r.finish == FinishReason::length ? 1 : 0;
    t.tokens += tokens;
    t.longest = std::max(t.longest, tokens);
    if (r.failed()) continue;
    if (!std::exchange(any, true)) first = r.reward;
    t.reward += r.reward / static_cast<double>(judged);
    t.signal = t.signal || r.reward != first;
  }
  for (const Rollout& r : group) squares += r.failed() ? 0 : (r.reward - t.reward) * (r.reward - t.reward);
  t.spread = judged > 0 ? std::sqrt(squares / static_cast<double>(judged)) : 0;
  return t;
}

// Samples rounds of groups and keeps the answers of the largest round for the timing of training.
class Sampler {
 public:
  Sampler(const ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads,
          const TrainOptions& options)
      : bundle_(bundle),
        config_(config),
        work_(threads, config.run.numerics, bundle.model.memory()),
        engine_(bundle.model, work_.ctx, config.rollout.engine()),
        reward_(config.reward, config.rollout.max_tokens),
        threads_(threads),
        stop_([&options] { return options.stop_asked(); }) {
    config_.dynamic_filter = false;
  }

  // A critic compares a group's rewards with those of the others.
  bool differs_from_first(std::span<const Rollout> group) {
    bool differs = false;
    for (const Rollout& r : group) {
      if (r.failed()) continue;
      if (!first_reward_) first_reward_ = r.reward;
      differs = differs || r.reward != *first_reward_;
    }
    return differs;
  }

  // Returns the seconds per sampled token.
  double probe() {
    config_.rollout.max_tokens = std::min(config_.rollout.max_tokens, kProbeTokens);
    const double begin = now_s();
    const RolloutSet set = round(1);
    return (now_s() - begin) / static_cast<double>(std::max<int64_t>(1, set.totals.tokens));
  }

  void sample(int64_t groups, int64_t max_tokens, Preflight& out) {
    config_.rollout.max_tokens = max_tokens;
    const double begin = now_s();
    RolloutSet set = round(groups);
    const double taken = now_s() - begin;
    first_problem_ += groups;
    seconds_ += taken;
    for (int64_t g = 0; g < groups; ++g) {
      const auto group = std::span<const Rollout>(set.rollouts)
                             .subspan(static_cast<size_t>(g * config_.rollout.samples),
                                      static_cast<size_t>(config_.rollout.samples));
      out.groups.push_back(tally(group));
      if (config_.critic) out.groups.back().signal = differs_from_first(group);
    }
    if (set.totals.problems < largest_.totals.problems) return;
    largest_seconds_ = taken - set.totals.verify_s;
    largest_ = std::move(set);
  }

  double seconds_a_group(const Preflight& out) const {
    return seconds_ / static_cast<double>(std::max<size_t>(1, out.groups.size()));
  }
  const RolloutSet& largest() const { return largest_; }
  double largest_seconds() const { return largest_seconds_; }  // of the sampling, without the verdicts

 private:
  RolloutSet round(int64_t groups) {
    config_.prompts = groups;
    const int64_t step = static_cast<int64_t>(kPreflightStep) + rounds_++;
    try {
      return collect_rollouts(bundle_, engine_, reward_, threads_, config_,
                              {.step = step, .first_problem = first_problem_}, stop_);
    } catch (const StepAbandoned&) {
      throw Stopped("stopped during the preflight: nothing was trained");
    } catch (const NothingJudged& e) {
      throw Error(fmt::format("preflight: {}; mend it, then try again", e.what()));
    }
  }

  const ModelBundle& bundle_;
  GrpoConfig config_;
  Workspace work_;
  Engine engine_;
  Reward reward_;
  ThreadPool& threads_;
  std::function<bool()> stop_;
  RolloutSet largest_;
  std::optional<double> first_reward_;  // the first reward of all samples
  double seconds_ = 0, largest_seconds_ = 0;
  int64_t first_problem_ = 0, rounds_ = 0;
};

// Returns a larger number of groups if the figures are near a refusal but do not justify it; otherwise the
// present number.
int64_t groups_wanted(const Preflight& p) {
  const int64_t have = std::ssize(p.groups);
  const Share signal = p.signal(), truncated = p.truncated();
  if (signal.value == 0) return std::max(have, groups_to_refuse(p.groups_a_step));
  if (truncated.value > kMostTruncated && truncated.low <= kMostTruncated)
    return std::max(have, groups_to_refuse(p.groups_a_step));
  return have;
}

void sample_groups(Sampler& sampler, const PreflightLimits& limits, double begin, const GrpoConfig& config,
                   Preflight& out) {
  const double budget = kShareOfSampling * limits.seconds;
  const double token_s = sampler.probe();
  const auto left = [&] { return budget - (now_s() - begin); };
  // An upper bound: no answer of the group ends by itself.
  const auto group_s = [&](int64_t tokens) {
    return token_s * static_cast<double>(config.rollout.samples * tokens);
  };
  out.sampled_to = config.rollout.max_tokens;
  if (group_s(config.rollout.max_tokens) > left()) {
    const double tokens = left() / group_s(1);
    out.sampled_to =
        std::clamp<int64_t>(static_cast<int64_t>(std::max(tokens, 0.0)),
                            std::min(kProbeTokens, config.rollout.max_tokens), config.rollout.max_tokens);
  }
  int64_t wanted = limits.groups;
  double each = group_s(out.sampled_to);
  while (std::ssize(out.groups) < wanted) {
    const auto fit = static_cast<int64_t>(std::clamp(left() / std::max(each, 1e-9), 0.0, 1e6));
    const int64_t missing = wanted - std::ssize(out.groups);
    if (fit < 1 && !out.groups.empty()) break;
    sampler.sample(std::clamp<int64_t>(fit, 1, std::min(missing, std::max<int64_t>(config.prompts, 8))),
                   out.sampled_to, out);
    each = sampler.seconds_a_group(out);
    if (std::ssize(out.groups) >= wanted) wanted = std::max(wanted, groups_wanted(out));
  }
}

// Returns answers of the sampled groups for one micro-batch: at least one, and no more than its size and its
// time allow.
std::vector<ScoredRow> micro_batch(const RolloutSet& set, const GrpoConfig& config, double token_s) {
  const double affordable = kMicroBatchSeconds / (kTrainingCost * std::max(token_s, 1e-9));
  const int64_t most = std::min(config.micro_tokens,
                                std::max(kLeastMicroBatch, static_cast<int64_t>(std::min(affordable, 1e9))));
  std::vector<ScoredRow> rows;
  int64_t tokens = 0;
  for (const Rollout& r : set.rollouts) {
    const int64_t more = std::ssize(r.tokens) - 1;
    if (!rows.empty() && tokens + more > most) break;
    rows.emplace_back(r.tokens, r.policy_ranges());
    tokens += more;
  }
  return rows;
}

// Times the forward of one micro-batch, and its forward with backward.
void time_training(ModelBundle& bundle, const GrpoConfig& config, const Sampler& sampler, ThreadPool& threads,
                   Preflight& out) {
  const RolloutSet& set = sampler.largest();
  const double token_s =
      sampler.largest_seconds() / static_cast<double>(std::max<int64_t>(1, set.totals.sampled_tokens));
  const std::vector<ScoredRow> rows = micro_batch(set, config, token_s);
  for (const ScoredRow& row : rows) out.micro_batch += std::ssize(row.tokens) - 1;
  Lanes lanes(threads, config.run.numerics, Arena::kDefaultLimit, bundle.model.memory());
  ScoringOptions options = rollout_scoring(config);
  double begin = now_s();
  (void)score(bundle.model, lanes, rows, options);
  const double forward = now_s() - begin;
  options.entropy = true;
  begin = now_s();
  differentiate(bundle.model, lanes, rows, options,
                [](const RowGradient& row) { std::ranges::fill(row.gradient, 1e-3f); });
  const double both = now_s() - begin;
  Context ctx = lanes.context();
  bundle.model.zero_gradients(ctx);

  int64_t tokens = 0;
  for (const Rollout& r : set.rollouts) tokens += std::ssize(r.tokens) - 1;
  const double groups = static_cast<double>(set.totals.problems);
  const double prompts = static_cast<double>(config.prompts);
  const double micros = static_cast<double>(tokens) / groups * prompts / static_cast<double>(out.micro_batch);
  const bool all = config.loss.kl > 0 || config.dynamic_filter || config.critic;
  const double moving = all ? 1.0 : out.signal().value;
  out.train_s =
      static_cast<double>(config.epochs) * micros * (moving * both + (1 - moving) * std::min(forward, both));
  int passes = (config.epochs * config.minibatches > 1 ? 1 : 0) + (config.has_reference() ? 1 : 0);
  if (config.critic) {  // the critic is as large as the policy
    ++passes;
    out.train_s *= 2;
  }
  out.score_s = passes * micros * forward;
  // Expected rounds of sampling until the groups with signal suffice.
  const double useful = std::max(out.signal().value, 1e-9);
  const double rounds =
      config.dynamic_filter ? std::clamp(std::ceil(1 / useful), 1.0, double(config.filter_rounds)) : 1.0;
  out.sample_s = sampler.largest_seconds() / groups * prompts * rounds;
  out.verify_s = set.totals.verify_s / groups * prompts * rounds;
}

}  // namespace

Preflight run_preflight_samples(ModelBundle& bundle, const GrpoConfig& config, const PreflightLimits& limits,
                                ThreadPool& threads, const TrainOptions& options) {
  const double begin = now_s();
  Preflight out;
  out.max_tokens = config.rollout.max_tokens;
  out.steps = config.optimizer.steps;
  out.groups_a_step = config.prompts * (config.dynamic_filter ? config.filter_rounds : 1);
  out.memory = memory_of(bundle, config, threads);
  check_memory(out.memory, options.memory_limit, "a step", "batch.micro, rollout.batch or rollout.max_tokens",
               config.run.device);
  {
    Sampler sampler(bundle, config, threads, options);
    sample_groups(sampler, limits, begin, config, out);
    time_training(bundle, config, sampler, threads, out);
  }
  out.seconds = now_s() - begin;
  return out;
}

}  // namespace r1
