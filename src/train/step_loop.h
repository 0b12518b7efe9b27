// train/step_loop.h: the loop over a stage's steps: it saves checkpoints, stops when asked, and ends the run.
//
// A resumed run repeats the steps since the last checkpoint exactly, so the time of a checkpoint changes no
// bit of the result and is a matter of cost alone. By default a checkpoint is written at the end of a step if
// about two minutes of work would be lost otherwise, but never so often that saving takes more than a
// twentieth of the time.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>

#include "train/reporter.h"
#include "train/run_directory.h"
#include "train/train_options.h"

namespace r1 {

// Thrown by a step that stops before it has changed anything: the state is that after the previous step.
class StepAbandoned : public std::exception {};

struct StageSteps {
  int64_t steps = 0;  // of the whole run
  // Runs step state.step + 1, brings the state up to date and writes the step's rows.
  std::function<void(TrainerState&)> step;
  std::function<void(const std::filesystem::path&)> save_state;  // weights and optimizer, into a checkpoint
  std::function<void(const std::filesystem::path&)> save_model;
};

// Runs the steps from `state` to the last one. Returns false if options.stop_after_steps ended it earlier.
// Throws Stopped after saving the state if asked to stop, Error if state.step is beyond the last step, and
// whatever the functions throw.
bool run_steps(RunDirectory& run, TrainerState& state, const CheckpointConfig& checkpoints,
               const StageSteps& stage, const TrainOptions& options);

}  // namespace r1
