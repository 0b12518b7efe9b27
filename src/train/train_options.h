// train/train_options.h: options of how a stage is run. None of them changes a bit of the result.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>

#include "train/step_measures.h"

namespace r1 {

struct MemoryEstimate;  // train/memory.h

struct TrainOptions {
  bool resume = false;
  bool force = false;            // trains even if the preflight refuses the run
  int64_t stop_after_steps = 0;  // for tests: end as if killed after that many more steps; 0: run to the end
  int64_t memory_limit = 0;  // bytes; a step that may need more is refused before the first; 0: the machine's
  // Called between steps and while answers are sampled. If it returns true, the run saves its state and
  // throws Stopped.
  std::function<bool()> stop = {};
  // For tests: the clock of the default checkpoints; empty: the system's.
  std::function<double()> seconds = {};
  StepMeasures measures = {};
  // If it is set, the stage only calls it, with the memory of a step and the number of steps, once everything
  // is read and checked; nothing is trained or written, and no memory is refused.
  std::function<void(const MemoryEstimate& step, int64_t steps)> planned = {};
  bool stop_asked() const { return stop && stop(); }
};

// Thrown when a run has stopped because it was asked to. Its finished work is on disk; what() says how far it
// came.
class Stopped : public std::exception {
 public:
  explicit Stopped(std::string line) : line_(std::move(line)) {}
  const char* what() const noexcept override { return line_.c_str(); }

 private:
  std::string line_;
};

}  // namespace r1
