// ops/embed/embed_backend.h: what embed.cc asks of a backend. Private to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/weight.h"
#include "tensor/context.h"

namespace r1 {

struct EmbedForward {
  std::span<const int32_t> tokens;  // [T]
  const Weight* table = nullptr;    // [V, D]
  Tensor y;                         // [T, D] f32
};

struct EmbedBackward {
  std::span<const int32_t> tokens;
  Tensor dy;    // [T, D]
  Tensor grad;  // [V, D]; rows are added to it
};

namespace cpu {
void embed_forward(Context& ctx, const EmbedForward& call);
void embed_backward(Context& ctx, const EmbedBackward& call);
}  // namespace cpu

namespace cuda {
void embed_forward(Context& ctx, const EmbedForward& call);
void embed_backward(Context& ctx, const EmbedBackward& call);
}  // namespace cuda

}  // namespace r1
