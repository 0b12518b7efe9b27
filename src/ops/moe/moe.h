// ops/moe/moe.h: DeepSeek-V3's mixture of experts (arXiv 2412.19437, 2.1.2): routing, experts, balance.
//
//   s[t, e] = sigmoid(x[t] . Wg[e]);  selection by s + bias: groups of E / n_group experts are ranked by the
//   sum of their two best biased scores, the best topk_group groups stay, and of their experts the A best are
//   selected. w[t, a] = s (unbiased) of the selected, divided by their sum + 1e-20 if norm_topk, times
//   routed_scaling. y[t] = sum over the selected, in ascending expert index, of w[t, a] * expert(x[t]);
//   expert = down(silu(gate) * up)
//
// Ties in selection: the lower index wins, for groups and for experts; NaN counts as the largest. Experts of
// groups that do not stay can never be selected (their biased score counts as -infinity), as in DeepSeek's
// own inference code and in transformers 5.23; older versions of transformers masked with 0, which differs
// only where a staying group holds one of the A best and its biased score is negative. Where topk_group =
// n_group no group is ranked. A group of one expert is ranked by its one score. Shared experts are an
// ordinary MLP beside this op.
//
// cpu-f32: router and expert products as ops/matmul; s = 1 / (1 + exp(-z)) with our exp; the sum of the
// selected s in ascending index; w = (s / sum) * routed_scaling; sums over experts in ascending index by FMA
// from +0. Bf16 numerics: gate, up, silu(gate) * up are rounded to bf16 each, the selection bias is not;
// scores, weights, an expert's output and y stay f32. Bit-exact: y[t] and the selection are functions of x[t]
// and the weights alone.
//
// Backward: through the weights to the router (selection itself has no gradient; the bias gets none),
// experts' and router's weight gradients walk t in order and go on from what they held (an expert's over w *
// h, h = silu(gate) * up, for down). d w[t, a] = h . (Wdown^T dy[t]) in sixteen virtual lanes, then a fixed
// tree. dx[t]: per expert a chain over gate's F in order, then up's; experts added in ascending index, the
// sum added to what dx held; then a chain over the router's E in order. gate and up activations are kept ([A
// T, F] each), everything else is made again. Scratch is a chunk of tokens' (thousands), not the batch's.
// (Bf16: x, gate and up are kept widened.)
//
// Sequence-wise balance loss (2.1.2, eq. 17-20), for each row of the batch of length n:
//   alpha * sum over e of f_e * P_e,  f_e = E / (A n) * #selected(e),  P_e = mean over t of s[t, e] / sum_e'
//   s[t, e'];
// its gradient (of the sum over rows of alpha * row length / total weight, see balance_scale) is added to the
// router's (f_e is a constant), whether or not a gradient reaches y. Its value is summed in double: tokens,
// experts, rows in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/matmul/matmul.h"
#include "tensor/batch.h"
#include "tensor/context.h"

namespace r1 {

struct MoeConfig {
  int64_t experts = 0;     // E
  int64_t active = 0;      // A
  int64_t groups = 1;      // n_group
  int64_t top_groups = 1;  // topk_group
  bool norm_topk = true;
  float routed_scaling = 1.0f;
};

struct Expert {
  Weight gate, up, down;  // [F, D], [F, D], [D, F]
};

struct MoeWeights {
  MoeConfig config;
  Weight router;                // [E, D]
  Parameter* bias = nullptr;    // [E] selection bias (e_score_correction_bias); trainable = false
  std::vector<Expert> experts;  // E
};

// What a forward counted, for the bias update and the metrics. Counts are integers: their order of summing is
// free.
struct MoeStats {
  std::vector<int64_t> selected;  // [E], added to
};

struct MoeTraining {
  float balance_scale = 0;         // alpha / (tokens of the whole step): each row's loss counts by its length
  MoeStats* stats = nullptr;       // counted where given, with or without a tape; empty: sized first
  double* balance_loss = nullptr;  // the (scaled) loss is added here where given, with or without a tape
};

// x [T, D], an activation -> [T, D] f32. `batch` is read only for the balance loss: its rows must then cover
// x. `w` must outlive the tape. Shapes that disagree, or biases on the router or an expert, are broken
// invariants.
Tensor moe(Context& ctx, const Batch& batch, const Tensor& x, const MoeWeights& w,
           const MoeTraining& training = {});

// V3's auxiliary-loss-free balancing: bias[e] += gamma * sign(mean selected - selected[e]); then counts are
// cleared. The comparison is exact. Adds one to bias.version.
void update_selection_bias(Parameter& bias, MoeStats& stats, float gamma);

namespace ref {
// One token's routing in double: fills experts [A] ascending and weights [A].
void route(const float* x, const float* router, const float* bias, const MoeConfig& config, int64_t D,
           int32_t* experts, double* weights);
// gate/up/down: E matrices each. y [T, D].
void moe(const float* x, const float* router, const float* bias, const MoeConfig& config,
         const float* const* gate, const float* const* up, const float* const* down, int64_t T, int64_t D,
         int64_t F, double* y);
// The (scaled) balance loss of rows [offsets[s], offsets[s + 1]).
double balance_loss(const float* x, const float* router, const float* bias, const MoeConfig& config,
                    const int32_t* offsets, int64_t S, double balance_scale, int64_t D);
// Gradients of sum(dy * y) + balance_loss, assigned. dy may be null (the balance loss alone), offsets too
// (none).
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
