// train/step_measures.h: the hooks by which a run measures its model: evaluations and the validation loss.
// train/ only calls these functions; recipe/training_evals.h implements them.
#pragma once

#include <cstdint>
#include <functional>

#include "formats/json.h"

namespace r1 {

struct StepMeasures {
  // Called once before the first step of this process, with the number of finished steps. The later rows of
  // metrics.jsonl have been dropped.
  std::function<void(int64_t step)> begin = {};
  // Returns true if a measurement follows step `step`.
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
