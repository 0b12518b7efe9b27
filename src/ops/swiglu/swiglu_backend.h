// ops/swiglu/swiglu_backend.h: what swiglu.cc asks of a backend. Private to this folder.
#pragma once

#include "tensor/context.h"

namespace r1 {

struct SwigluForward {
  Tensor gate, up, y;  // [T, F]
};

struct SwigluBackward {
  Tensor gate, up, dy;
  GradSlot dgate, dup;  // no data: not needed; f32, or bf16 on a device with tensor cores
};

namespace cpu {
void swiglu_forward(Context& ctx, const SwigluForward& call);
void swiglu_backward(Context& ctx, const SwigluBackward& call);
}  // namespace cpu

namespace cuda {
void swiglu_forward(Context& ctx, const SwigluForward& call);
void swiglu_backward(Context& ctx, const SwigluBackward& call);
}  // namespace cuda

}  // namespace r1
