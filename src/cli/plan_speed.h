// cli/plan_speed.h: predicts how fast a model of some shape decodes, by a measurement of a second or two.
#pragma once

#include <cstdint>

#include "base/threads.h"
#include "model/config.h"
#include "tensor/numerics.h"

namespace r1 {

// The prediction of one numerics for one sequence.
struct SpeedForecast {
  bool measured = false;   // false: the layers are too large to try; only the limit is known
  double limit_gb_s = 0;   // the machine's bandwidth of reading
  double layers_gb_s = 0;  // at which the model's layers read their weights
  double token_s = 0;      // seconds per token at depth 0
  double position_s = 0;   // added per position of context
  double tokens_per_s(int64_t depth) const { return 1 / (token_s + position_s * static_cast<double>(depth)); }
};

// Runs a slice of the shape with random weights: as many layers as make more bytes than the caches hold, with a
// small vocabulary, or the whole model if it is small. The head's time follows from its bytes. `memory` bounds
// what may be taken.
SpeedForecast forecast_decoding(const ModelConfig& config, Numerics numerics, ThreadPool& threads,
                                double limit_gb_s, int64_t memory);

}  // namespace r1
