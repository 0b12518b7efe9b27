// train/training_run.h: a run from its first step to its finished model.
//
// A stage supplies a StageTrainer: its step, its figures and its state beside the weights. Everything around
// the steps is here, once for pretrain, sft, distill and grpo: beginning, resuming, the wall clock, the rows
// of metrics.jsonl, measures, checkpoints, the finished model, and the memory that the run has needed.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/json.h"
#include "train/memory.h"
#include "train/reporter.h"
#include "train/run_directory.h"
#include "train/train_options.h"

namespace r1 {

class StageTrainer {
 public:
  virtual ~StageTrainer() = default;

  // Called once, before the first step of this process. The run's files hold the rows up to state.step.
  virtual void begin(const TrainerState& state) { (void)state; }
  // Makes step state.step + 1 and adds its counts to the state; run_training sets step and wall_s. Throws
  // StepAbandoned (train/step_loop.h) if it stops before it has changed anything.
  virtual void step(TrainerState& state) = 0;
  // Returns the row of metrics.jsonl of the step that was made last and took `seconds`.
  virtual Json row(const TrainerState& state, double seconds) const = 0;
  // Returns lines for the user on that step, given its row with the figures of all measures.
  virtual std::vector<std::string> notes(const Json& row) {
    (void)row;
    return {};
  }
  // Writes and reads the state beside the weights, such as the optimizer's, in a checkpoint.
  virtual void save(const std::filesystem::path& checkpoint) const = 0;
  virtual void load(const std::filesystem::path& checkpoint, const TrainerState& state) = 0;
  virtual MemoryMeasured memory() const = 0;  // the peaks so far
};

struct TrainingRun {
  RunDirectory& run;
  ModelBundle& bundle;  // the model in training
  const CheckpointConfig& checkpoint;
  const MemoryEstimate& memory;  // of a step
  int64_t steps = 0;             // of the whole run
  int64_t log_every = 1;         // steps between rows of metrics.jsonl; the last step always has one
};

// Trains run.bundle.model up to the last step and writes it to OUT/model. A run that is finished already is
// left as it is, and its model becomes run.bundle.model. `make` is called once the run is known to have work
// to do. Throws Error or Stopped.
void run_training(const TrainingRun& run, const std::function<std::unique_ptr<StageTrainer>()>& make,
                  Reporter& reporter, const TrainOptions& options);

}  // namespace r1
