// eval/evaluate.h: measures how good a model is at problems with checkable answers, and how certain that is.
//
// n problems, k samples each, c_i of them right.
//   p_i    = c_i / k;  pass@1 = mean of p_i
//   pass@j = mean over i of 1 - C(k - c_i, j) / C(k, j): the unbiased estimator (Chen et al. 2021), j <= k
//   interval (95 %) = pass@1 -+ 1.96 se, se^2 = sum over i of (p_i - pass@1)^2 / (n (n - 1)), cut to [0, 1]:
//   the normal approximation, clustered by problem, because samples of one problem are not independent.
//   If the problems do not differ (0 of n, n of n), se is 0 and says nothing; the interval is then Wilson's
//   score interval of pass@1 with n trials, [0, z^2 / (n + z^2)] at 0. One problem with some samples right:
//   [0, 1].
//
// Samples are keyed by (seed, kEvalStep, problem, sample), which no training step uses.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/task.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "engine/prompt_format.h"
#include "engine/sampling_settings.h"
#include "formats/json.h"
#include "reward/reward.h"
#include "reward/verdict.h"

namespace r1 {

inline constexpr uint32_t kEvalStep = 0x4556414C;  // "EVAL"; training steps count from 0 and stay below

// Judges answers in place of the task's verifier (reward/reward.h). A sample's id is "PROBLEM/SAMPLE", both
// counted from 0. The judge gets several answers per call, so that it can work on them in parallel.
using EvalJudge = std::function<std::vector<Verdict>(std::span<const RewardSample> samples)>;

struct EvalOptions {
  PromptFormat prompt;
  SamplingSettings sampling = {.samples = 4, .batch = 256};
  uint64_t seed = 0;
  EvalJudge judge;  // empty: the verifier of each problem's task
};

struct EvalSample {
  int64_t problem = 0;
  int64_t sample = 0;
  std::string text;            // as generated: response_text (text/think.h)
  bool prompt_opened = false;  // the prompt opened the thought: `text` begins inside it
  int64_t tokens = 0;          // generated
  int64_t thinking = 0;        // of them in the thought
  FinishReason finish = FinishReason::length;
  Verdict verdict;
};

struct PassAtK {
  int64_t k = 1;
  double value = 0;
};

struct EvalResult {
  int64_t problems = 0;
  int64_t samples = 0;  // of each problem
  double pass_at_1 = 0;
  double low = 0, high = 0;      // 95 % interval of pass_at_1
  std::vector<PassAtK> pass_at;  // k = 1, 2, 4, ... and `samples`
  double mean_length = 0;        // tokens of a sample
  double mean_thinking =
      0;  // thinking tokens of the correct samples (none of which is truncated); 0: none is correct
  double truncated = 0;  // shares of all samples
  double well_formed = 0;
  int64_t tokens = 0;       // generated in all
  double seconds = 0;       // of this run
  int64_t kept_tokens = 0;  // of samples that an earlier, interrupted run finished; they took no time now
  // Rate of the samples that were made in `seconds`; 0 if there were none.
  double tokens_per_s() const {
    return seconds > 0 ? static_cast<double>(tokens - kept_tokens) / seconds : 0.0;
  }
  std::vector<EvalSample> rows;  // in order of (problem, sample)
};

// `on_sample` is called for each sample as it ends, in any order, with the number of samples that have ended.
// `finished` are samples that an earlier, interrupted run has made; they are not made again. Throws Error if
// a prompt does not fit the context.
using OnEvalSample = std::function<void(const EvalSample& sample, int64_t done, int64_t total)>;
EvalResult evaluate(const ModelBundle& bundle, Context& ctx, std::span<const Problem> problems,
                    const EvalOptions& options, const OnEvalSample& on_sample = {},
                    std::vector<EvalSample> finished = {});

// Fills in all figures but seconds from result.rows, problems and samples.
void summarise(EvalResult& result);

// 1 - C(samples - correct, k) / C(samples, k); 1 <= k <= samples, 0 <= correct <= samples.
double pass_at_k(int64_t samples, int64_t correct, int64_t k);

// The summary: pass_at_1, pass_at_2, ..., low, high (of pass_at_1), and the fields above by their names,
// without the rows.
Json to_json(const EvalResult& result);
Json sample_row(const Problem& problem, const EvalSample& sample);
// Reads a row that sample_row() wrote, but not where its thought begins and ends. Throws Error.
EvalSample sample_of_row(const Json& row);

}  // namespace r1
