// ops/rope/rope_backend.h: what rope.cc asks of a backend. Private to this folder.
#pragma once

#include "ops/rope/rope.h"
#include "tensor/context.h"

namespace r1 {

struct RopeForward {
  Tensor x, y;    // [T, H, K]
  Rotary rotary;  // positions and table are on the host
};

// The turn back: the forward with the sines negated.
struct RopeBackward {
  Tensor dy;    // [T, H, K]
  GradSlot dx;  // always wanted; f32, or bf16 on a device with tensor cores
  Rotary rotary;
};

namespace cpu {
void rope_forward(Context& ctx, const RopeForward& call);
void rope_backward(Context& ctx, const RopeBackward& call);
}  // namespace cpu

namespace cuda {
void rope_forward(Context& ctx, const RopeForward& call);
void rope_backward(Context& ctx, const RopeBackward& call);
}  // namespace cuda

}  // namespace r1
