// train/step_measures.h: what a run measures of itself besides training: evaluations and the validation loss.
// train/ does not know how that is done (recipe/training_evals.h does); it calls these functions.
#pragma once

#include <cstdint>
#include <functional>

#include "formats/json.h"

namespace r1 {

struct StepMeasures {
  // Called once before the first step that is taken now, with the number of steps that are done. The rows of
  // metrics.jsonl beyond that step have been dropped.
  std::function<void(int64_t step)> begin = {};
  // Reports whether step `step` is followed by a measurement.
  std::function<bool(int64_t step)> due = {};
  // Measures after step `step`, whose row of metrics.jsonl gets the figures. Changes no weight and draws no
  // random number of the run.
  std::function<void(int64_t step, Json& row)> measure = {};

  void begin_at(int64_t step) const {
    if (begin) begin(step);
  }
  bool is_due(int64_t step) const { return due && due(step); }
};

}  // namespace r1
