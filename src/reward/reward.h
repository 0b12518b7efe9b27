// reward/reward.h: what samples are paid: the task's verifier, the user's programs and endpoints, and the terms.
//
// Which answers are right ("correct", the accuracy of metrics.jsonl):
//   - the task's verifier says it; but
//   - if reward.accuracy is 0 and there is a program (or, without one, an endpoint), the first of them says it: by its
//     answer's "correct", else by score >= threshold. The task's verifier is not asked then, and gold may be anything.
// An answer that was cut off is never right. A program is asked about it only if it says truncated = true; else its score
// is 0.
//
// Status of a sample: verifier_failed if whatever had to judge it failed; it is then no part of its group, and its
// reward is 0 and must not be used. Else refused if what decides about right and wrong found no answer to read. Else scored.
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
  std::string response;              // whole (text/think.h), without the stop token
  int64_t tokens = 0;                // of the answer, the stop token included
  bool ended = false;                // by its stop token; false: it was cut off
};

struct RewardResult {
  Verdict verdict;
  double total = 0;
  std::vector<double> terms;  // values without their weights, by term_names()
  bool failed() const { return verdict.status == SampleStatus::verifier_failed; }
};

class Reward {
 public:
  // `cap` is the largest number of answer tokens.
  Reward(const RewardConfig& config, int64_t cap);
  ~Reward();

  // In the order of the sum (term.h), with their weights.
  const std::vector<std::string>& term_names() const { return names_; }
  const std::vector<double>& weights() const { return weights_; }

  // Judges samples in consecutive groups of the given sizes. Verifiers run on all threads; each problem's gold is read
  // once. `tick` as in scorer.h. Throws Error for a gold that the task's verifier cannot read.
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

// Returns the verdicts alone, in the order of the samples. A program is restarted if it is asked about an id that it
// knows from an earlier call.
std::vector<Verdict> verdicts_of(Reward& reward, ThreadPool& threads, std::span<const RewardSample> samples);

}  // namespace r1
