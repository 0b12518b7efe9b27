#include "train/step_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace r1 {
namespace {

constexpr double kSecondsBetween = 120;  // seconds of work that a kill may cost at most
constexpr double kShareOfTime = 0.05;    // largest share of the time that saving may take

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Saver {
 public:
  Saver(RunDirectory& run, const CheckpointConfig& config, const StageSteps& stage,
        const TrainOptions& options, int64_t saved_step)
      : run_(run),
        config_(config),
        stage_(stage),
        seconds_(options.seconds ? options.seconds : system_seconds),
        saved_step_(saved_step),
        last_(seconds_()) {}

  void after_step(const TrainerState& state) {
    if (config_.every ? *config_.every > 0 && state.step % *config_.every == 0 : is_due()) save(state);
  }
  // Saves the state if it is not saved yet.
  void save(const TrainerState& state) {
    if (state.step == saved_step_) return;
    const double begin = seconds_();
    run_.checkpoint(state, config_.keep, stage_.save_state);
    last_ = seconds_();
    cost_ = last_ - begin;
    saved_step_ = state.step;
  }

 private:
  bool is_due() const { return seconds_() - last_ >= std::max(kSecondsBetween, cost_ / kShareOfTime); }

  RunDirectory& run_;
  const CheckpointConfig& config_;
  const StageSteps& stage_;
  std::function<double()> seconds_;
  int64_t saved_step_;
  double last_ = 0, cost_ = 0;  // seconds: the time of the last save, and its duration
};

}  // namespace

bool run_steps(RunDirectory& run, TrainerState& state, const CheckpointConfig& checkpoints,
               const StageSteps& stage, const TrainOptions& options) {
  if (state.step > stage.steps) {
    throw Error(
        fmt::format("{}: has done {} steps, more than the {} that are asked for: ask for more, or name "
                    "another out",
                    run.path().string(), state.step, stage.steps));
  }
  Saver saver(run, checkpoints, stage, options, state.step);
  const int64_t last = options.stop_after_steps > 0
                           ? std::min(stage.steps, state.step + options.stop_after_steps)
                           : stage.steps;
  while (state.step < last) {
    bool stopped = options.stop_asked();
    if (!stopped) {
      try {
        stage.step(state);
      } catch (const StepAbandoned&) {
        stopped = true;
      }
    }
    if (stopped) {
      saver.save(state);
      throw Stopped(state.step == 0
                        ? fmt::format("stopped before the first of {} steps was done", stage.steps)
                        : fmt::format("stopped: step {} of {} is saved", state.step, stage.steps));
    }
    if (state.step < stage.steps) saver.after_step(state);
  }
  if (state.step < stage.steps) return false;
  // Saves the last state, so that the run can later be continued with more steps.
  if (checkpoints.every.value_or(1) > 0) saver.save(state);
  run.finish(stage.steps, stage.save_model);
  return true;
}

}  // namespace r1
