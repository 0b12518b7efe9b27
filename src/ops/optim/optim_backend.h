// ops/optim/optim_backend.h: what optim.cc asks of a backend. Private to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"

namespace r1 {

// The factors of optim.h's formulas, each rounded to f32 once.
struct AdamConstants {
  float lr, b1, b2, one_less_b1, one_less_b2, c1, c2, eps, grad_scale;
};

struct AdamUpdate {
  Tensor w, grad, m, v;  // f32, of equal count
  float weight_decay = 0;
};
struct AdamUpdates {
  std::span<const AdamUpdate> updates;
  AdamConstants constants;
};

struct GradientNorm {
  std::span<const Tensor> gradients;  // f32, in order
};

struct ZeroGradients {
  std::span<const Tensor> gradients;  // f32
};

namespace cpu {
void adam_updates(Context& ctx, const AdamUpdates& call);
double sum_of_squares(Context& ctx, const GradientNorm& call);
void zero_gradients(Context& ctx, const ZeroGradients& call);
}  // namespace cpu

namespace cuda {
void adam_updates(Context& ctx, const AdamUpdates& call);
double sum_of_squares(Context& ctx, const GradientNorm& call);  // waits for the stream
void zero_gradients(Context& ctx, const ZeroGradients& call);
}  // namespace cuda

}  // namespace r1
