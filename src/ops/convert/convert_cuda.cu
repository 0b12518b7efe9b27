// ops/convert/convert_cuda.cu: bf16 <-> f32 on a CUDA device, limited by the memory's bandwidth.
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/convert/convert_backend.h"
#include "ops/convert/convert_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/block_table_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

struct ToF32 {
  __device__ float operator()(uint16_t v) const { return to_f32(v); }
};
struct ToBf16 {
  __device__ uint16_t operator()(float v) const { return bf16_bits(v); }
};
struct ThroughBf16 {
  __device__ float operator()(float v) const { return through_bf16(v); }
};

// Four neighbours per thread: one access of up to 16 bytes on each side.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T at[4];
};

template <class From, class To, class F>
__global__ void __launch_bounds__(kThreads) map_fours(const Four<From>* from, int64_t n, Four<To>* to, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const Four<From> values = from[i];
    Four<To> out;
#pragma unroll
    for (int e = 0; e < 4; ++e) out.at[e] = f(values.at[e]);
    to[i] = out;
  }
}

template <class From, class To, class F>
__global__ void __launch_bounds__(kThreads) map_values(const From* from, int64_t n, To* to, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step)
    to[i] = f(from[i]);
}

template <class T>
bool holds_fours(const T* at) {
  return reinterpret_cast<uintptr_t>(at) % alignof(Four<T>) == 0;
}

template <class From, class To, class F>
void run(const char* name, const From* from, int64_t n, To* to, F f, void* stream) {
  if (n == 0) return;
  const auto s = static_cast<cudaStream_t>(stream);
  const bool fours = n % 4 == 0 && holds_fours(from) && holds_fours(to);
  const int64_t items = fours ? n / 4 : n;
  const int64_t blocks =
      std::min<int64_t>((items + kThreads - 1) / kThreads, int64_t{multiprocessors()} * 32);
  if (fours) {
    map_fours<<<static_cast<unsigned>(blocks), kThreads, 0, s>>>(reinterpret_cast<const Four<From>*>(from),
                                                                 items, reinterpret_cast<Four<To>*>(to), f);
  } else {
    map_values<<<static_cast<unsigned>(blocks), kThreads, 0, s>>>(from, n, to, f);
  }
  check_launch(name);
}

struct NarrowRow {
  int64_t first_block, n;
  const float* from;
  uint16_t* to;
};
constexpr int64_t kNarrowBlock = int64_t{16} * kThreads * 4;

// Tensors that begin at multiples of 16 and 8 bytes are read in fours.
__global__ void __launch_bounds__(kThreads) narrow_blocks(const NarrowRow* rows, int count) {
  const NarrowRow& row = row_of_block(rows, count, blockIdx.x);
  const int64_t first = (blockIdx.x - row.first_block) * kNarrowBlock;
  const int64_t end = min(first + kNarrowBlock, row.n);
  const bool fours = reinterpret_cast<uintptr_t>(row.from) % sizeof(Four<float>) == 0 &&
                     reinterpret_cast<uintptr_t>(row.to) % sizeof(Four<uint16_t>) == 0;
  const int64_t whole = fours ? first + (end - first) / 4 * 4 : first;
#pragma unroll 4
  for (int64_t i = first + int64_t{4} * threadIdx.x; i < whole; i += int64_t{4} * kThreads) {
    const Four<float> values = *reinterpret_cast<const Four<float>*>(row.from + i);
    Four<uint16_t> out;
#pragma unroll
    for (int e = 0; e < 4; ++e) out.at[e] = bf16_bits(values.at[e]);
    *reinterpret_cast<Four<uint16_t>*>(row.to + i) = out;
  }
  for (int64_t i = whole + threadIdx.x; i < end; i += kThreads) row.to[i] = bf16_bits(row.from[i]);
}

}  // namespace

void narrow_tensors(Context& ctx, std::span<const NarrowTensor> tensors) {
  BlockTable<NarrowRow> table(ctx, std::ssize(tensors));
  for (const NarrowTensor& t : tensors)
    table.add({.first_block = 0, .n = t.n, .from = t.from, .to = t.to}, kNarrowBlock);
  table.send(ctx);
  if (ctx.measuring || table.blocks == 0) return;
  narrow_blocks<<<static_cast<unsigned>(table.blocks), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      table.rows, table.count);
  check_launch("narrow weights");
}

void narrow_f32(const float* from, int64_t n, uint16_t* to, void* stream) {
  run("narrow", from, n, to, ToBf16(), stream);
}

void round_f32(const float* from, int64_t n, float* to, void* stream) {
  run("round_to_bf16", from, n, to, ThroughBf16(), stream);
}

void widen_values(Context& ctx, const Widen& call) {
  if (!ctx.measuring) run("widen", call.from, call.n, call.to, ToF32(), ctx.stream);
}

void narrow_values(Context& ctx, const Narrow& call) {
  if (!ctx.measuring) narrow_f32(call.from, call.n, call.to, ctx.stream);
}

void round_values(Context& ctx, const RoundToBf16& call) {
  if (!ctx.measuring) round_f32(call.from, call.n, call.to, ctx.stream);
}

}  // namespace r1::cuda
