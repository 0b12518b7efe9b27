// cli/plan_speed.h: predicts how fast a model of some shape reads prompts and decodes, by a measurement of a few
// seconds.
#pragma once

#include <cstdint>

#include "base/threads.h"
#include "model/config.h"
#include "model/weight_formats.h"
#include "tensor/memory.h"
#include "tensor/numerics.h"

namespace r1 {

inline constexpr int64_t kForecastPrompt = 512;  // tokens of a prompt that are read at a time, as in r1 bench

// The prediction of one numerics for one sequence.
struct SpeedForecast {
  bool measured = false;         // false: the layers are too large to try; only the limits are known
  double layers_gb_s = 0;        // at which the model's layers read their weights when decoding
  double token_s = 0;            // seconds per decoded token at depth 0
  double position_s = 0;         // added per position of context
  double prompt_s = 0;           // seconds for kForecastPrompt tokens of a prompt at depth 0
  double prompt_position_s = 0;  // added per position of context before them
  double decode_per_s(int64_t depth) const { return 1 / (token_s + position_s * static_cast<double>(depth)); }
  double prefill_per_s(int64_t depth) const {
    return static_cast<double>(kForecastPrompt) / (prompt_s + prompt_position_s * static_cast<double>(depth));
  }
};

// The machine's limits, measured: bytes per second of reading, and operations per second of the numerics' products.
struct MachineLimits {
  double bytes_per_s = 0, operations_per_s = 0;
};

// Runs a slice of the shape with random weights in these formats: as many layers as make more bytes than the caches
// hold, and as large a part of the vocabulary. Layers of the slice are spread over those of the model, whose formats
// may differ. The model's times follow from its bytes. `bytes` bounds what may be taken of `memory`, on whose device
// it runs.
SpeedForecast forecast_speed(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                             ThreadPool& threads, const MachineLimits& limits, Memory& memory, int64_t bytes);

}  // namespace r1
