// ops/norm/norm_backend.h: what norm.cc asks of a backend. Private to this folder.
#pragma once

#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

struct NormForward {
  Tensor x, y;  // [T, D]
  const Parameter* w = nullptr;
  float eps = 0;
  float* rstd = nullptr;  // [T], written for the backward; null: not needed
  // On CUDA devices alone: sum [T, D] = x + term is written and normed. `sum` may be x; no data: there is no term.
  Tensor term{}, sum{};
};

struct NormBackward {
  Tensor x, dy;
  const float* rstd = nullptr;
  Parameter* w = nullptr;
  GradSlot dx;       // no data: not needed; f32, or bf16 on a device with tensor cores
  Tensor rounded{};  // there, a copy in bf16 of dx, or of what dx holds afterwards; no data: not wanted
};

namespace cpu {
void norm_forward(Context& ctx, const NormForward& call);
void norm_backward(Context& ctx, const NormBackward& call);
}  // namespace cpu

namespace cuda {
void norm_forward(Context& ctx, const NormForward& call);
void norm_backward(Context& ctx, const NormBackward& call);
}  // namespace cuda

}  // namespace r1
