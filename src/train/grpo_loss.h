// train/grpo_loss.h: group-relative policy optimisation and its family, the arithmetic alone.
//
// A step has N samples; sample i has n_i scored tokens, C is the cap on answer tokens ([rollout] max_tokens).
//   A_i  = (r_i - mean of the group) / s                  s: see Normalise
//   loss = sum over samples i and their tokens t of w_it * (S_it + kl * k3_t)
//   k3_t = exp(ref_t - logp_t) - (ref_t - logp_t) - 1     Schulman's estimator of KL(policy || reference)
// Ratio, with d_t = logp_t - logp_old_t:
//   token           rho_it = exp(d_t)                  DeepSeekMath (2402.03300); what most systems call GRPO
//   sequence        rho_it = exp(sum of d_t)           as printed in the R1 paper (2501.12948)
//   sequence_mean   rho_it = exp(mean of d_t)          GSPO (2507.18071)
// Surrogate:
//   ppo     S = -min(rho A, clip(rho, 1 - low, 1 + high) A)             low < high: DAPO's clip-higher
//   cispo   S = -c A logp_t, c = clip(rho, 1 - low, 1 + high), constant   MiniMax-M1 (2506.13585)
// Aggregate:
//   token      w_it = 1 / (sum of n_i)     DAPO (2503.14476): long answers count by their length
//   sequence   w_it = 1 / (N n_i)          DeepSeekMath, R1, GSPO
//   constant   w_it = 1 / (N C)            Dr. GRPO (2503.20783): with Normalise::none
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace r1 {

// The divisor s of a group's centred rewards: the group's standard deviation (+ 1e-6), the standard deviation
// of all rewards of the step (+ 1e-6), or 1. Both are population standard deviations.
enum class Normalise : uint8_t { group, batch, none };
enum class Aggregate : uint8_t { token, sequence, constant };
enum class Ratio : uint8_t { token, sequence, sequence_mean };
enum class Surrogate : uint8_t { ppo, cispo };

struct GrpoLossConfig {
  double clip_low = 0.2, clip_high = 0.2;
  double kl = 0.0;
  Normalise normalise = Normalise::group;
  Aggregate aggregate = Aggregate::token;
  Ratio ratio = Ratio::token;
  Surrogate surrogate = Surrogate::ppo;
};

// Returns the advantages of samples in consecutive groups of `group`, given their rewards. A group whose
// rewards are all equal gets zeros.
std::vector<double> group_advantages(std::span<const double> rewards, int64_t group, Normalise normalise);
// Does the same, but leaves samples with left_out[i] out of their group and of the step: means and deviations
// are those of the other samples, and the advantage of a left-out sample is 0.
std::vector<double> group_advantages(std::span<const double> rewards, const std::vector<bool>& left_out,
                                     int64_t group, Normalise normalise);

// Returns w_it for a sample with `tokens` answer tokens. The update has `samples` samples with `all_tokens`
// tokens in all; `cap` is C.
double token_weight(Aggregate aggregate, int64_t tokens, int64_t samples, int64_t all_tokens, int64_t cap);

// Returns the loss of one sample and sets gradient[t] to the derivative of the loss by logp[t]. `logp` holds
// the log-probs now, `old` those at sampling time, `ref` those of the reference (it may be empty if kl is 0).
// Every span has one element per scored token of the sample.
struct SampleLoss {
  double loss = 0;
  int64_t clipped = 0;  // tokens whose ratio was clipped
  double kl = 0;        // sum of k3, if there is a reference
};
SampleLoss sample_loss(const GrpoLossConfig& config, std::span<const float> logp, std::span<const float> old,
                       std::span<const float> ref, double advantage, double weight,
                       std::span<double> gradient);
// Does the same with one advantage per token, as PPO has it.
SampleLoss sample_loss(const GrpoLossConfig& config, std::span<const float> logp, std::span<const float> old,
                       std::span<const float> ref, std::span<const double> advantages, double weight,
                       std::span<double> gradient);

}  // namespace r1
