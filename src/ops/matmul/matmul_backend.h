// ops/matmul/matmul_backend.h: what matmul.cc and weight.cc ask of a backend. Private to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/weight.h"
#include "tensor/context.h"

namespace r1 {

// y [T, N] = x [T, K] W^T (+ bias), rounded to y's type.
struct MatmulForward {
  Tensor x, y;
  const Weight* w = nullptr;
};

struct MatmulBackward {
  Tensor x, dy;
  Tensor rounded{};  // dy in bf16, if it has been rounded where it was made; dy may be this itself
  const Weight* w = nullptr;
  GradSlot dx;  // no data: not needed
};

// The same product of plain f32 memory.
struct WeightProduct {
  const Weight* w = nullptr;
  const float* x = nullptr;
  int64_t T = 0;
  float* y = nullptr;
};

// dx [T, K] = or += dy [T, N] W.
struct WeightTransposed {
  const Weight* w = nullptr;
  const float* dy = nullptr;
  int64_t T = 0;
  float* dx = nullptr;
  bool accumulate = false;
};

struct WeightGradient {
  const Weight* w = nullptr;
  const float* dy = nullptr;
  const float* x = nullptr;
  int64_t T = 0;
};

// Fills `panels` (f32 or pairs of bf16, see weight.h) from a value or, of a frozen matrix, from its file, whose
// blocks stay blocks if `blocks`.
struct PackWeight {
  const Parameter* dense = nullptr;
  Tensor panels;
  bool blocks = false;
};

// Fills `rows` [N, K], of the type that weight.cc has chosen, from a frozen matrix's file; i32: the bytes of
// its blocks, on a CUDA device as tiles (quant_tiles.h). On a CUDA device, also from a trained matrix's value.
struct ReadRows {
  const Parameter* dense = nullptr;
  Tensor rows;
};

// to[i] = row indices[i], in f32, of `held`: panels if `packed`, else rows; of blocks if `blocks` is given.
// `rounding` is the type that the forward rounds to. Without indices: rows [first, first + count). `bits`: as bits of bf16,
// from tiles alone, instead of `to`.
struct CopyRows {
  Tensor held;
  int64_t N = 0, K = 0;
  bool packed = false;
  const Format* blocks = nullptr;
  DType rounding = DType::f32;
  std::span<const int32_t> indices;
  int64_t first = 0, count = 0;
  float* to = nullptr;
  uint16_t* bits = nullptr;
};

namespace cpu {
// Products of one x. Returns false, and does nothing, if they are to be computed one by one.
inline bool matmuls_forward(Context&, std::span<const MatmulForward>) {
  return false;
}
void matmul_forward(Context& ctx, const MatmulForward& call);
void matmul_backward(Context& ctx, const MatmulBackward& call);
void times(Context& ctx, const WeightProduct& call);
void times_transposed(Context& ctx, const WeightTransposed& call);
void add_weight_gradient(Context& ctx, const WeightGradient& call);
void pack_weight(Context& ctx, const PackWeight& call);
void read_rows(Context& ctx, std::span<const ReadRows> calls);
void copy_rows(Context& ctx, const CopyRows& call);
}  // namespace cpu

namespace cuda {
bool matmuls_forward(Context& ctx, std::span<const MatmulForward> calls);
void matmul_forward(Context& ctx, const MatmulForward& call);
void matmul_backward(Context& ctx, const MatmulBackward& call);
void times(Context& ctx, const WeightProduct& call);
void times_transposed(Context& ctx, const WeightTransposed& call);
void add_weight_gradient(Context& ctx, const WeightGradient& call);
void pack_weight(Context& ctx, const PackWeight& call);
void read_rows(Context& ctx, std::span<const ReadRows> calls);
void copy_rows(Context& ctx, const CopyRows& call);
}  // namespace cuda

}  // namespace r1
