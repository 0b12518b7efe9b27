// reward/reward.h: computes the rewards of samples from the task's verifier, the user's programs and
// endpoints, and the terms.
//
// An answer is right ("correct", the accuracy of metrics.jsonl) if its judge says so:
//   - The judge is the task's verifier, except in the next case.
//   - If reward.accuracy is 0 and there is a program, the first program is the judge; without programs, the first
//     endpoint. It judges by the "correct" of its answer, or else by score >= threshold. The task's verifier is then
//     not asked, and gold may be anything.
// An answer that was cut off is never right. A program or endpoint is asked about it only if its setting
// truncated is true; otherwise its score for the answer is 0.
//
// The status of a sample is the first of these that applies:
//   verifier_failed  the verifier, a program or an endpoint failed for it. The sample is not part of its group, and
//                    its reward is 0 and must not be used.
//   refused          the judge found no answer that it can read
//   scored           all other samples
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "data/task.h"
#include "reward/reward_config.h"
#include "reward/scorer.h"
#include "reward/term.h"
#include "reward/verdict.h"

namespace r1 {

struct RewardSample {
  const Problem* problem = nullptr;  // not null
  std::string id;                    // unique among the samples of a call
  std::string response;              // the whole response (text/think.h), without the stop token
  int64_t tokens = 0;                // answer tokens, including the stop token
  bool ended = false;                // true: with its stop token; false: it was cut off
};

struct RewardResult {
  Verdict verdict;
  double total = 0;
  std::vector<double> terms;  // values before weighting, in the order of term_names()
  bool failed() const { return verdict.status == SampleStatus::verifier_failed; }
};

class Reward {
 public:
  // `cap` is the largest number of answer tokens.
  Reward(const RewardConfig& config, int64_t cap);
  ~Reward();

  // Names and weights of the terms, in the order of the sum (term.h).
  const std::vector<std::string>& term_names() const { return names_; }
  const std::vector<double>& weights() const { return weights_; }

  // Judges samples in consecutive groups of the given sizes. Verifiers run on all threads, and each problem's
  // gold is read once. See scorer.h for `tick`. Throws Error for a gold that the task's verifier cannot read.
  std::vector<RewardResult> judge(ThreadPool& threads, std::span<const RewardSample> samples,
                                  std::span<const int64_t> groups, const std::function<void()>& tick = {});
  std::vector<std::string> take_notes();

 private:
  struct Outside;
  std::vector<Verdict> verdicts(ThreadPool& threads, std::span<const RewardSample> samples) const;
  void ask(Outside& outside, std::span<const RewardSample> samples, bool decides,
           std::span<RewardResult> results, const std::function<void()>& tick) const;

  void add_up(std::span<const RewardSample> group, std::span<RewardResult> results) const;

  RewardConfig config_;
  std::vector<WeightedTerm> terms_;
  std::vector<Outside> outside_;  // programs, then endpoints
  std::vector<std::string> names_;
  std::vector<double> weights_;
};

// Returns only the verdicts, in the order of the samples. A program that has answered one of the ids in an
// earlier call is restarted.
std::vector<Verdict> verdicts_of(Reward& reward, ThreadPool& threads, std::span<const RewardSample> samples);

}  // namespace r1
