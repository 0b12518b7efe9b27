// model/rope_config.h: the angles of a model's rotary embedding, read from config.json and computed once.
//
// Both spellings are read: transformers 4 (rope_theta, and rope_scaling with "type" or "rope_type") and 5
// (rope_parameters). A file with both is read by its rope_scaling, as in transformers. Other keys of a block
// are ignored, as transformers ignores them, but for vLLM's attn_factor. With u[i] = theta^(2i / P) for pair
// i of the P / 2 pairs, the inverse frequency is
//   default  1 / u[i]                                                    (Su et al. 2021)
//   linear   1 / (u[i] factor)                                           (Chen et al. 2023)
//   llama3   1 / u[i] where a turn is short, 1 / (u[i] factor) where it is long, between them a blend
//            (Llama 3.1; short and long: original_positions / high_freq_factor and / low_freq_factor)
//   yarn     1 / u[i] for fast pairs, 1 / (u[i] factor) for slow ones, a ramp between them; cosines and sines
//            are multiplied by an attention factor                       (Peng et al. 2023, arXiv 2309.00071)
// dynamic and longrope are refused. Their frequencies change with the sequence's length, so a token's
// log-prob would depend on the tokens after it.
//
// Rounding points: powers and logarithms in double. The default rounds once, to f32. The others round where
// transformers does, so that even long positions turn by its angles: u to f32, then every step in f32.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/json.h"

namespace r1 {

enum class RopeType : uint8_t { plain, linear, llama3, yarn };

struct RopeConfig {
  RopeType type = RopeType::plain;
  double theta = 10000.0;
  double factor = 1.0;                                   // all but plain
  int64_t original_positions = 0;                        // llama3, yarn: the context before scaling
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn: turns within the original context
  double mscale = 0.0, mscale_all_dim = 0.0;             // yarn; 0: not given
  double attention_factor = 0.0;                         // yarn; 0: not given, follows from the three above
  double attn_factor = 1.0;                              // yarn; multiplies a factor that is not given
  bool truncate = true;                                  // yarn: the ramp begins and ends at whole pairs
  bool operator==(const RopeConfig&) const = default;
};

// Reads a whole config.json. Throws Error naming the field. max_positions is used if a scaled type has no
// original_max_position_embeddings.
RopeConfig read_rope_config(const Json& json, int64_t max_positions);
// For files that people write for r1: throws Error for a key of a block that no version of transformers
// knows.
void refuse_unknown_rope_keys(const Json& json);
// DeepSeek-V3: throws Error for mscale_all_dim in a block whose type is not yarn.
void refuse_stray_mscale(const Json& json);
// Sets rope_theta and rope_scaling, which both versions of transformers read.
void write_rope_config(const RopeConfig& config, Json& json);

struct RopeFrequencies {
  std::vector<float> inverse;  // [P / 2]
  float attention_factor = 1.0f;
};
RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t width);

// The factor of DeepSeek-V3's attention scores, on top of 1 / sqrt(width): (0.1 mscale_all_dim ln(factor) +
// 1)^2 with yarn, else 1. Other families use mscale_all_dim for the attention factor only.
double latent_score_factor(const RopeConfig& config);

}  // namespace r1
