// engine/sampling_settings.h: how answers are sampled, wherever it is said: the [rollout] of grpo and
// distill, an [[eval]] of a training, an eval [[stage]] of a recipe, or the flags of `r1 run`, `generate` and
// `eval`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "formats/config_file.h"
#include "ops/sample/sample.h"

namespace r1 {

struct SamplingSettings {
  SamplingParams params = {};  // temperature, top_p, ...
  int64_t samples = 1;         // per prompt
  int64_t max_tokens = 256;    // generated per sample
  // Size and memory of the engine; they change no result.
  int64_t batch = 512;  // sequences at a time
  int64_t prefill_chunk = 2048;
  int64_t kv_bytes = 0;  // see EngineOptions
  bool reserve = false;  // likewise

  EngineOptions engine() const;
  // Returns a request for `samples` samples; prompt and stop tokens are left to the caller.
  Request request(const RandomKey& key) const;
};

// Tokens of prompts that a training or its teacher runs at a time: a step has many prompts.
inline constexpr int64_t kRolloutPrefillChunk = 4096;

// The range of a setting, ends included, except that top_p must be more than 0.
struct SamplingBounds {
  double low = 0, high = 0;
};
inline constexpr SamplingBounds kTemperatureBounds{0, 1000};
inline constexpr SamplingBounds kShareBounds{0, 1};  // top_p, min_p
inline constexpr SamplingBounds kRepetitionBounds{1e-3, 1000};
inline constexpr SamplingBounds kPenaltyBounds{-1000, 1000};  // presence, frequency
inline constexpr int64_t kMostAnswerTokens = int64_t{1} << 24;

// The keys of a table, beside temperature and max_tokens, which every table of sampling settings has.
struct SamplingKeys {
  const char* samples = "samples";
  int64_t fewest = 1;  // samples
  double coldest = 0;  // temperature
  bool top_p = true, batch = true;
};

// Reads the settings of `table`, such as "rollout" or "eval[0]". Throws Error.
SamplingSettings read_sampling_settings(ConfigFile& file, const std::string& table,
                                        const SamplingSettings& fallback, const SamplingKeys& keys);

// Returns the number that a float was read from: 0.7 for 0.7f.
double shortest_number(float value);

}  // namespace r1
