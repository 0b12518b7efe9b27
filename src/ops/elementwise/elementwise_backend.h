// ops/elementwise/elementwise_backend.h: what elementwise.cc asks of a backend. Private to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"

namespace r1 {

// y = a + b, all f32 and of equal count. y may be a.
struct Add {
  Tensor a, b, y;
};

// y [T, M] = columns [first, first + M) of x [T, N], of x's type.
struct SliceColumns {
  Tensor x, y;
  int64_t first = 0;
};

// Puts x [T, M] into columns [first, first + M) of y [T, N], of x's type. The other columns stay.
struct PlaceColumns {
  Tensor x, y;
  int64_t first = 0;
};

// Puts dy [T, M] into columns [first, first + M) of dx [T, N]. If dx does not accumulate, the other columns
// become 0.
struct SliceBackward {
  Tensor dy;
  GradSlot dx;
  int64_t first = 0;
};

// y[r] = x[indices[r]], of x's type.
struct GatherRows {
  Tensor x, y;
  std::span<const int32_t> indices;  // [R], on the host
};

namespace cpu {
void add_values(Context& ctx, const Add& call);
void slice_forward(Context& ctx, const SliceColumns& call);
void place_columns(Context& ctx, const PlaceColumns& call);
void slice_backward(Context& ctx, const SliceBackward& call);
void gather_forward(Context& ctx, const GatherRows& call);
}  // namespace cpu

namespace cuda {
void add_values(Context& ctx, const Add& call);
void slice_forward(Context& ctx, const SliceColumns& call);
void place_columns(Context& ctx, const PlaceColumns& call);
void slice_backward(Context& ctx, const SliceBackward& call);
void gather_forward(Context& ctx, const GatherRows& call);
}  // namespace cuda

}  // namespace r1
