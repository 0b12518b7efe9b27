#include "train/training_run.h"

#include <chrono>

#include "base/process.h"
#include "train/step_loop.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;
using TrainingClock = std::chrono::steady_clock;

double seconds_since(TrainingClock::time_point begin) {
  return std::chrono::duration<double>(TrainingClock::now() - begin).count();
}

// Returns the state of the newest checkpoint, after loading it, or the state before the first step.
TrainerState resume_or_start(const TrainingRun& run, StageTrainer& trainer, Reporter& reporter) {
  const auto checkpoint = run.run.latest();
  if (!checkpoint) {
    run.run.start_afresh();
    return {};
  }
  const TrainerState state = run.run.resume_from(*checkpoint);
  run.bundle.model.read_weights(*checkpoint);
  trainer.load(*checkpoint, state);
  reporter.note("resumed from " + checkpoint->string());
  return state;
}

// Makes one step and writes and reports its row.
void take_step(const TrainingRun& run, StageTrainer& trainer, TrainerState& state, double wall_before,
               TrainingClock::time_point begin, Reporter& reporter, const TrainOptions& options) {
  const auto step_begin = TrainingClock::now();
  trainer.step(state);
  ++state.step;
  state.wall_s = wall_before + seconds_since(begin);
  const bool measured = options.measures.is_due(state.step);
  if (state.step % run.log_every != 0 && state.step != run.steps && !measured) return;
  Json row = trainer.row(state, seconds_since(step_begin));
  if (measured) options.measures.measure(state.step, row);
  run.run.write_metrics(row);
  reporter.step(row, run.steps);
  for (const std::string& line : trainer.notes(row)) reporter.note(line);
}

}  // namespace

void run_training(const TrainingRun& run, const std::function<std::unique_ptr<StageTrainer>()>& make,
                  Reporter& reporter, const TrainOptions& options) {
  const bool begins = run.run.begin(run.steps);
  for (const std::string& line : run.run.notes()) reporter.note(line);
  if (!begins) {
    reporter.note(run.run.path().string() + " is finished: its model is used as it is");
    run.bundle.model.read_weights(run.run.model_path());
    return;
  }
  reporter.note(memory_line(run.memory, "a step"));
  reset_peak_resident();
  const std::unique_ptr<StageTrainer> trainer = make();
  TrainerState state = resume_or_start(run, *trainer, reporter);
  options.measures.begin_at(state.step);
  trainer->begin(state);
  const double wall_before = state.wall_s;
  const auto begin = TrainingClock::now();
  run_steps(
      run.run, state, run.checkpoint,
      {.steps = run.steps,
       .step = [&](TrainerState& at) { take_step(run, *trainer, at, wall_before, begin, reporter, options); },
       .save_state =
           [&](const fs::path& checkpoint) {
             run.bundle.save(checkpoint);
             trainer->save(checkpoint);
           },
       .save_model = [&](const fs::path& model) { run.bundle.save(model); }},
      options);
  const MemoryMeasured measured = trainer->memory();
  reporter.note(memory_line(run.memory, measured));
  run.run.note("memory_mib", to_json(run.memory, measured));
}

}  // namespace r1
