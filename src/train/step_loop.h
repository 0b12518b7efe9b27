// train/step_loop.h: the loop around a stage's steps: when it saves, how it stops, and its end.
//
// A checkpoint changes no bit of what a run computes: a resumed run repeats the steps since the last one
// exactly. So when to save is a question of cost alone. By default a checkpoint is written at the end of a
// step if about two minutes of work would be lost otherwise, and never so often that saving takes more than a
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

// Thrown by a step that gives up before it has changed anything: the state is that of the step before.
class StepAbandoned : public std::exception {};

struct StageSteps {
  int64_t steps = 0;  // of the whole run
  // Runs step state.step + 1, brings the state up to date and writes the step's rows.
  std::function<void(TrainerState&)> step;
  std::function<void(const std::filesystem::path&)> save_state;  // weights and optimizer, into a checkpoint
  std::function<void(const std::filesystem::path&)> save_model;
};

// From `state` to the last step. Returns false if options.stop_after_steps ended it before. Throws Stopped
// once a state is saved; Error for state.step beyond the last step, and what the functions throw.
bool run_steps(RunDirectory& run, TrainerState& state, const CheckpointConfig& checkpoints,
               const StageSteps& stage, const TrainOptions& options);

}  // namespace r1
