// ops/moe/moe.h: mixture of experts: routing, experts, balance, as in DeepSeek-V3 (arXiv 2412.19437, 2.1.2),
// and with the router of DeepSeek-V2 (arXiv 2405.04434, 2.1.2) and Qwen3 (arXiv 2505.09388).
//
//   s[t, e] = sigmoid(z[t, e]), or softmax over e of z[t], with z[t, e] = x[t] . Wg[e]
//   w[t, a] = s of the selected (unbiased), divided by their sum + 1e-20 if norm_topk, times routed_scaling
//   y[t]    = sum over the selected, in ascending expert index, of w[t, a] * expert(x[t])
//   expert  = down(silu(gate) * up)
//
// Selection is by s + bias: groups of E / n_group experts are ranked by the sum of their two best biased
// scores (V3) or by their best one (V2), the best topk_group groups stay, and the best A of their experts are
// selected. On ties the lower index wins, for groups and for experts; NaN counts as the largest. If
// topk_group = n_group, no group is ranked. A group of one expert is ranked by its one score. Experts of
// groups that do not stay can never be selected (their biased score counts as -infinity), as in DeepSeek's
// own inference code and in transformers 5.23. Older versions of transformers masked with 0, which differs
// only if a staying group holds one of the best A and its biased score is negative. Shared experts are an
// ordinary MLP beside this op.
//
// cpu-f32: router and expert products as in ops/matmul; s = 1 / (1 + exp(-z)) with our exp, or s = exp(z -
// max of z) / their sum, in ascending index; the selected s are summed in ascending index; w = (s / sum) *
// routed_scaling; experts are summed in ascending index by FMA from +0. Bf16 numerics: gate, up and
// silu(gate) * up are each rounded to bf16, the selection bias is not; scores, weights, an expert's output
// and y stay f32. Bit-exact: y[t] and the selection are functions of x[t] and the weights alone.
//
// Backward: the gradient flows through the weights w to the router; the selection itself and the bias have
// none. Weight gradients of experts and router walk t in order and continue from what they held. An expert's
// gradient for down is over w * h, h = silu(gate) * up.
//
//   d w[t, a] = h . (Wdown^T dy[t]), in sixteen virtual lanes, then a fixed tree
//   dx[t]     = per expert a chain over gate's F in order, then up's; experts are added in ascending index
//               and their sum is added to what dx held; then a chain over the router's E in order
//
// gate and up activations are kept ([A T, F] each; in bf16 numerics x, gate and up are kept widened);
// everything else is computed again. Scratch is for a chunk of tokens (thousands), not for the batch.
//
// Sequence-wise balance loss (2.1.2, eq. 17-20), for each row of the batch of length n:
//
//   alpha * sum over e of f_e * P_e
//   f_e = E / (A n) * #selected(e)
//   P_e = mean over t of s[t, e] / sum_e' s[t, e']   (a softmax's sum counts as 1)
//
// The gradient of the sum over rows of alpha * row length / total weight (see balance_scale) is added to the
// router's, with f_e as a constant, whether or not a gradient reaches y. The loss is summed in double: over
// tokens, experts and rows in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/matmul/matmul.h"
#include "tensor/batch.h"
#include "tensor/context.h"

namespace r1 {

enum class RouterScore : uint8_t { sigmoid, softmax };
enum class GroupRank : uint8_t { two_best, best };

struct MoeConfig {
  int64_t experts = 0;     // E
  int64_t active = 0;      // A
  int64_t groups = 1;      // n_group
  int64_t top_groups = 1;  // topk_group
  bool norm_topk = true;
  float routed_scaling = 1.0f;
  RouterScore score = RouterScore::sigmoid;
  GroupRank group_rank = GroupRank::two_best;
};

struct Expert {
  Weight gate, up, down;  // [F, D], [F, D], [D, F]
};

struct MoeWeights {
  MoeConfig config;
  Weight router;                // [E, D]
  Parameter* bias = nullptr;    // [E] selection bias (e_score_correction_bias), or none; trainable = false
  std::vector<Expert> experts;  // E
};

// Counts of a forward, for the bias update and the metrics. Integers may be summed in any order.
struct MoeStats {
  std::vector<int64_t> selected;  // [E]; forwards add to it
};

struct MoeTraining {
  float balance_scale = 0;         // alpha / (tokens of the whole step): each row's loss counts by its length
  MoeStats* stats = nullptr;       // if given, gets the counts, with or without a tape; sized if empty
  double* balance_loss = nullptr;  // if given, the (scaled) loss is added to it, with or without a tape
};

// x [T, D], an activation -> [T, D] f32. `batch` is read only for the balance loss; its rows must then cover
// x. `w` must outlive the tape. Mismatched shapes and biases of router or experts are broken invariants.
Tensor moe(Context& ctx, const Batch& batch, const Tensor& x, const MoeWeights& w,
           const MoeTraining& training = {});

// V3's auxiliary-loss-free balancing: bias[e] += gamma * sign(mean selected - selected[e]), with an exact
// comparison. Then clears the counts and adds one to bias.version.
void update_selection_bias(Context& ctx, Parameter& bias, MoeStats& stats, float gamma);

namespace ref {
// One token's routing in double: fills experts [A], ascending, and weights [A].
void route(const float* x, const float* router, const float* bias, const MoeConfig& config, int64_t D,
           int32_t* experts, double* weights);
// gate, up and down are E matrices each. y [T, D].
void moe(const float* x, const float* router, const float* bias, const MoeConfig& config,
         const float* const* gate, const float* const* up, const float* const* down, int64_t T, int64_t D,
         int64_t F, double* y);
// The (scaled) balance loss of rows [offsets[s], offsets[s + 1]).
double balance_loss(const float* x, const float* router, const float* bias, const MoeConfig& config,
                    const int32_t* offsets, int64_t S, double balance_scale, int64_t D);
// Gradients of sum(dy * y) + balance_loss, assigned. dy may be null (the balance loss alone), and so may
// offsets (no balance loss).
struct MoeGradients {
  std::vector<double> x, router;                    // [T, D], [E, D]
  std::vector<std::vector<double>> gate, up, down;  // E each
};
MoeGradients moe_backward(const float* x, const float* router, const float* bias, const MoeConfig& config,
                          const float* const* gate, const float* const* up, const float* const* down,
                          const float* dy, const int32_t* offsets, int64_t S, double balance_scale, int64_t T,
                          int64_t D, int64_t F);
}  // namespace ref

}  // namespace r1
