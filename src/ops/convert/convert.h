// ops/convert/convert.h: conversions between f32 and bf16, for ops of the bf16 numerics.
//
// Widening is exact. Narrowing rounds to nearest even, once per op; NaN stays NaN. Ops compute in f32:
// bf16 inputs are widened into scratch from the arena, and results are rounded into place. With cpu-f32
// nothing here copies anything.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"

namespace r1 {

// The CPU's kernels of other ops call these.
void widen(ThreadPool& threads, const uint16_t* from, int64_t n, float* to);
void narrow(ThreadPool& threads, const float* from, int64_t n, uint16_t* to);
// The same on the calling thread, for use inside parallel regions.
void widen(const uint16_t* from, int64_t n, float* to);
void narrow(const float* from, int64_t n, uint16_t* to);
// Rounds to bf16 values that stay f32. `to` may be `from`.
void round_to_bf16(ThreadPool& threads, const float* from, int64_t n, float* to);

// Copies rows of `table` [R, N], f32 or bf16, as f32: to[i] = table[rows[i]].
void copy_rows_f32(ThreadPool& threads, const Tensor& table, std::span<const int32_t> rows, float* to);

// Returns an activation as f32: in place, or widened into the arena (bf16). Call it inside an ArenaScope.
const float* as_f32(Context& ctx, const Tensor& t);

// The same as a view in t's shape, with t's place on the tape.
Tensor as_f32_tensor(Context& ctx, const Tensor& t);

// Returns a parameter as the forward sees it, in f32: in place, or, if the numerics rounds weights or the
// value is stored in bf16, as a copy in the arena. Call it inside an ArenaScope.
const float* weight_f32(Context& ctx, const Tensor& value);

// Rounds f32 to bits of bf16, on the context's device.
void narrow_into(Context& ctx, const float* from, int64_t n, uint16_t* to);

// The memory where an op computes its f32 results for y: y itself, or arena scratch that store() rounds into
// y. Construct it inside an ArenaScope, after y.
class F32Output {
 public:
  F32Output(Context& ctx, const Tensor& y);
  float* data() const { return data_; }
  void store(Context& ctx) const;

 private:
  Tensor y_;
  float* data_;
};

}  // namespace r1
