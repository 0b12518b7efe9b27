// train/grpo_loss.h: group-relative policy optimisation (DeepSeekMath 2024; R1, arXiv 2501.12948), the
// arithmetic alone.
//
//   A_i = (r_i - mean of the group) / (standard deviation of the group + 1e-6)      population deviation
//   loss = sum over scored tokens t of w_t * ( -min(rho_t A, clip(rho_t, 1 - low, 1 + high) A) + kl * k3_t )
//   rho_t = exp(logp_t - logp_old_t),  k3_t = exp(ref_t - logp_t) - (ref_t - logp_t) - 1
//   w_t = 1 / (tokens of the step)  (aggregate = token)   or   1 / (samples * tokens of the sample)
//   (aggregate = sequence)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace r1 {

enum class Normalise : uint8_t { group, none };  // none: mean subtracted only (Dr. GRPO)
enum class Aggregate : uint8_t { token, sequence };

struct GrpoLossConfig {
  double clip_low = 0.2, clip_high = 0.2;
  double kl = 0.0;
  Normalise normalise = Normalise::group;
  Aggregate aggregate = Aggregate::token;
};

// Rewards of consecutive groups of `group` samples -> advantages. A group whose rewards are all equal gets
// zeros.
std::vector<double> group_advantages(std::span<const double> rewards, int64_t group, Normalise normalise);

// One token's share of the loss and its derivative by logp. `ref` is ignored where kl is 0.
struct TokenLoss {
  double loss = 0;
  double gradient = 0;
  bool clipped = false;
  double kl = 0;  // k3
};
TokenLoss token_loss(const GrpoLossConfig& config, double logp, double old, double ref, double advantage);

}  // namespace r1
