// recipe/training_evals.h: measures the model while a run trains it.
//
//   [[eval]]                    an evaluation on problems that training does not see, also after the last step
//     name                      default: the task's name
//     task                      a task (its held-out problems), or a file of problems (reward/problem_file.h)
//     every                     steps
//     problems, samples, max_tokens, temperature
//   [data] held_out = 0.05      sft, distill: if the file gives it, this share of the questions, chosen by a hash,
//                               is not trained on. The mean next-token loss of their documents is the validation
//                               loss. In sft they are the rows that split = "held_out" selects. With [validation]
//                               files, held_out only affects which rows data.split selects.
//   [validation] files          sft, distill: files with the documents of the validation loss
//                every          steps
//   [checkpoint] best           the name of an [[eval]], or "validation": the model with the highest pass@1 (the
//                               lowest loss) so far is kept in OUT/best; of equal models the earliest is kept
//
// Figures go to the step's row of metrics.jsonl: eval.NAME.pass_at_1, low, high, length, truncated, seconds,
// validation.loss, validation.seconds. Samples go to OUT/evals.jsonl. Samples are keyed by (seed, kEvalStep,
// problem, sample), so every evaluation asks with the same random numbers and no bit of the run changes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/threads.h"
#include "engine/model_bundle.h"
#include "engine/prompt_format.h"
#include "eval/evaluate.h"
#include "formats/config_file.h"
#include "reward/reward.h"
#include "train/pretrain.h"
#include "train/reporter.h"
#include "train/run_directory.h"
#include "train/step_measures.h"

namespace r1 {

struct TrainingEval {
  std::string name, key;  // key: "eval[0]"
  std::string task;       // as written in the file
  int64_t every = 0, problems = 0;
  EvalOptions options;
};

struct TrainingEvalConfig {
  std::vector<TrainingEval> evals;
  std::string best;                   // "": none is kept
  double held_out = 0;                // share of the questions; 0: none
  std::vector<std::string> files;     // [validation] files
  int64_t validation_every = 0;       // 0: no validation
  PromptFormat prompt;                // the prompt format of the run
  std::optional<RewardConfig> judge;  // set if the run's own program decides which answers are right
  int64_t max_tokens = 0;             // the run's limit of answer tokens, which is also the judge's cap
  bool validates() const { return validation_every > 0; }
};

// Reads [[eval]] and checkpoint.best, and if `documents` is set, data.held_out and [validation]. The default
// of an evaluation's max_tokens is `max_tokens`.
TrainingEvalConfig read_training_evals(ConfigFile& file, const RunConfig& run, int64_t max_tokens,
                                       bool documents);

// Throws Error for an [[eval]] whose task is neither a file nor a task with held-out problems. The keys of
// `file` must have been read.
void check_eval_tasks(const ConfigFile& file);

// Returns true if the document is held out: if the hash of its prompt falls into the share.
bool is_held_out(const Document& document, double share);
// Moves the held-out documents out of `documents`. Throws Error if one of the two parts would be empty.
std::vector<Document> take_held_out(std::vector<Document>& documents, const ConfigFile& file, double share);

class TrainingEvals {
 public:
  // `bundle` is the model in training; all arguments outlive this. Throws Error for a task or a file that
  // cannot be used.
  TrainingEvals(const TrainingEvalConfig& config, const ConfigFile& file, const RunConfig& run,
                const ModelBundle& bundle, std::vector<Document> validation, int64_t micro_tokens,
                int64_t steps, ThreadPool& threads, Reporter& reporter);

  StepMeasures measures();
  // Throws Error if a step that needs `step` and the largest evaluation do not fit together into `limit`
  // bytes (0: the machine's memory).
  void check_memory_with(MemoryEstimate step, int64_t limit) const;

 private:
  void begin(int64_t step);
  bool due(int64_t step) const;
  void measure(int64_t step, Json& row);
  void evaluate_one(size_t index, int64_t step, Json& row);
  void validate(int64_t step, Json& row);
  void keep_best(int64_t step, const Json& row);

  const TrainingEvalConfig& config_;
  const RunConfig run_;
  const ModelBundle& bundle_;
  std::vector<std::vector<Problem>> problems_;  // the problems of each evaluation
  std::vector<Document> validation_;
  int64_t micro_tokens_, steps_;
  ThreadPool& threads_;
  Reporter& reporter_;
  std::optional<double> best_;    // the figure of the model in OUT/best; a loss is negated
  std::optional<Reward> reward_;  // made from config_.judge
};

}  // namespace r1
