// ops/elementwise/elementwise.h: sums and slices of rows, with at most one rounding per element. Copies keep
// the type of what they copy; gradients are f32.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"

namespace r1 {

// a + b, of the same shape, both f32 (the residual stream).
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);
// Records the backward of y = a + b on the tape, for an op that computes the sum together with something else.
void record_sum(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& y);
// x += term, both f32 and of equal count. It has no backward: what a tape has named is a broken
// invariant.
void add_in_place(Context& ctx, const Tensor& x, const Tensor& term);
// x [T, N] -> [T, end - begin], a copy of columns [begin, end).
Tensor slice_columns(Context& ctx, const Tensor& x, int64_t begin, int64_t end);
// a [T, M], b [T, N], of one type -> [T, M + N], the columns of a and then those of b.
Tensor join_columns(Context& ctx, const Tensor& a, const Tensor& b);
// x [T, N], indices [R] (in any order, repeats allowed, on the host) -> [R, N]. It has no backward: under a
// tape it is a broken invariant, and so is an index out of range.
Tensor gather_rows(Context& ctx, const Tensor& x, std::span<const int32_t> indices);

// The CPU's kernels of other ops call this. It copies or adds `count` columns of T rows. The rows are
// from_width and to_width floats wide.
struct Columns {
  const float* from;
  int64_t from_width;
  float* to;
  int64_t to_width;
  int64_t count;
};
void copy_columns(ThreadPool& threads, int64_t T, const Columns& c);
void add_columns(ThreadPool& threads, int64_t T, const Columns& c);
// into[i] += from[i] for n elements.
void add_into(ThreadPool& threads, const float* from, int64_t n, float* into);
// into[indices[r]] += from[r] for rows of N floats, in the order of r (threads share the columns).
void scatter_add_rows(ThreadPool& threads, const float* from, std::span<const int32_t> indices, int64_t N,
                      float* into);

}  // namespace r1
