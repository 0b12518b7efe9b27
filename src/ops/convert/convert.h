// ops/convert/convert.h: between f32 and bf16: how the ops of the bf16 numerics read and write.
//
// Widening is exact; narrowing rounds to nearest even (NaN stays NaN), once an op. Ops compute on f32: what
// is bf16 in memory is widened into scratch of the arena, what comes out is rounded into place. With cpu-f32
// nothing here copies anything.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"

namespace r1 {

void widen(ThreadPool& threads, const uint16_t* from, int64_t n, float* to);
void narrow(ThreadPool& threads, const float* from, int64_t n, uint16_t* to);
// The same on the calling thread: inside parallel regions.
void widen(const uint16_t* from, int64_t n, float* to);
void narrow(const float* from, int64_t n, uint16_t* to);
// Rounds to a bf16 value, stays f32. to may be from.
void round_to_bf16(ThreadPool& threads, const float* from, int64_t n, float* to);

// An activation as f32: where it lies, or (bf16) widened into the arena: call inside an ArenaScope.
const float* as_f32(Context& ctx, const Tensor& t);

// The same as a view of that memory in t's shape, with t's place on the tape.
Tensor as_f32_tensor(Context& ctx, const Tensor& t);

// Rows of `table` [R, N], f32 or bf16, as f32: to[i] = table[rows[i]].
void copy_rows_f32(ThreadPool& threads, const Tensor& table, std::span<const int32_t> rows, float* to);

// A parameter as the forward sees it, in f32: where it lies, or, where the numerics rounds weights or the
// value is stored in bf16, a copy in the arena: call inside an ArenaScope.
const float* weight_f32(Context& ctx, const Tensor& value);

// Where an op computes its f32 results for y: y itself, or scratch of the arena that store() rounds into y.
// Make it inside an ArenaScope, behind y.
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
