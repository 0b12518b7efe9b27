// engine/speed.h: how fast a model decodes and reads prompts at any depth of context, without computing that
// context first.
//
// Rows run through the engine's runner as samples do, on the device that holds the model. The keys and values of earlier positions are arbitrary
// numbers, whose values change no time.
#pragma once

#include <cstdint>
#include <memory>

#include "base/threads.h"
#include "model/model.h"

namespace r1 {

class SpeedMeter {
 public:
  // `sequences` and `positions` (of each) bound what can be measured. The model outlives this. `exact`: false lets
  // products on a GPU sum in any order (Context::exact). Throws Error if the cache does not fit into memory.
  SpeedMeter(const Model& model, ThreadPool& threads, Numerics numerics, int64_t sequences, int64_t positions,
             bool exact = true);
  ~SpeedMeter();
  SpeedMeter(const SpeedMeter&) = delete;
  SpeedMeter& operator=(const SpeedMeter&) = delete;

  // Returns the seconds of a step in which each of `batch` sequences, `depth` tokens long, gets a token; the
  // mean of `steps` steps. Tokens are drawn greedily.
  double decode_step(int64_t batch, int64_t depth, int64_t steps);
  // Returns the seconds in which `batch` sequences that are `depth` tokens long read `tokens` further ones
  // each, and the first token of each answer is drawn.
  double prefill(int64_t batch, int64_t depth, int64_t tokens);

  // The bytes of the cache for so many sequences of so many positions.
  static int64_t cache_bytes(const ModelConfig& config, Numerics numerics, int64_t sequences,
                             int64_t positions);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
