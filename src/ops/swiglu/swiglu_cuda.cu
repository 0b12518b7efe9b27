// ops/swiglu/swiglu_cuda.cu: SwiGLU on a CUDA device. The formulas, in the order of swiglu_cpu.cc, with
// s = 1 / (1 + exp(-gate)):
//
//   y     = (gate / (1 + exp(-gate))) * up
//   dgate = (dy * up) * (s * fma(gate, 1 - s, 1))
//   dup   = dy * (gate * s)
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/vectors_cuda.cuh"
#include "ops/swiglu/swiglu_backend.h"
#include "ops/swiglu/swiglu_cuda.h"
#include "ops/swiglu/swiglu_value_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

// Elements of a thread: 16 bytes of bf16.
constexpr int kEach = 8;

// f32 or bf16 bits.
template <class V>
__device__ __forceinline__ float activated(V gate, V up) {
  return swiglu_value(to_f32(gate), to_f32(up));
}

template <class V>
__global__ void __launch_bounds__(kThreads) swiglu_values(const V* gate, const V* up, int64_t n, V* y) {
  let_next_start();
  await_previous();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step)
    put_f32(y + i, activated(gate[i], up[i]));
}

// SwiGLU of `count` times kEach elements.
template <class V>
__global__ void __launch_bounds__(kThreads) swiglu_vectors(const V* gate, const V* up, int64_t count, V* y) {
  let_next_start();
  await_previous();
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kEach;
  if (i >= count * kEach) return;
  float g[kEach], u[kEach];
  load_neighbours(gate + i, g);
  load_neighbours(up + i, u);
#pragma unroll
  for (int e = 0; e < kEach; ++e) g[e] = activated(g[e], u[e]);
  store_neighbours(y + i, g);
}

struct Gradients {
  float gate, up;
};
__device__ __forceinline__ Gradients gradients_of(float g, float u, float d) {
  const float s = __frcp_rn(__fadd_rn(1.0f, exp_f32(-g)));  // the bits of 1 / x: both are rounded correctly
  const float slope = __fmul_rn(s, __fmaf_rn(g, __fsub_rn(1.0f, s), 1.0f));
  return {__fmul_rn(__fmul_rn(d, u), slope), __fmul_rn(d, __fmul_rn(g, s))};
}

// A gradient's memory, and whether the gradient is added to it. Null: not needed. `rounded`: of bf16.
struct GradientOut {
  void* at;
  bool add, rounded;
  __device__ void put(int64_t i, float value) const {
    if (at == nullptr) return;
    if (rounded) return put_f32(static_cast<uint16_t*>(at) + i, value);
    float* to = static_cast<float*>(at) + i;
    *to = add ? __fadd_rn(*to, value) : value;
  }
  __device__ void put(int64_t i, float (&values)[kEach]) const {
    if (at == nullptr) return;
    if (rounded) return store_neighbours(static_cast<uint16_t*>(at) + i, values);
    float* to = static_cast<float*>(at) + i;
    if (add) {
      float held[kEach];
      load_neighbours(to, held);
#pragma unroll
      for (int e = 0; e < kEach; ++e) values[e] = __fadd_rn(held[e], values[e]);
    }
    store_neighbours(to, values);
  }
};

template <class V>
__global__ void __launch_bounds__(kThreads) swiglu_gradients(const V* gate, const V* up, const float* dy,
                                                             int64_t n, GradientOut dgate, GradientOut dup) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const Gradients d = gradients_of(to_f32(gate[i]), to_f32(up[i]), dy[i]);
    dgate.put(i, d.gate);
    dup.put(i, d.up);
  }
}

// SwiGLU of `count` times kEach elements.
template <class V>
__global__ void __launch_bounds__(kThreads)
    swiglu_vector_gradients(const V* gate, const V* up, const float* dy, int64_t count, GradientOut dgate,
                            GradientOut dup) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kEach;
  if (i >= count * kEach) return;
  float g[kEach], u[kEach], d[kEach];
  load_neighbours(gate + i, g);
  load_neighbours(up + i, u);
  load_neighbours(dy + i, d);
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const Gradients both = gradients_of(g[e], u[e], d[e]);
    g[e] = both.gate;
    u[e] = both.up;
  }
  dgate.put(i, g);
  dup.put(i, u);
}

unsigned blocks_for(int64_t n) {
  return static_cast<unsigned>(
      std::min<int64_t>((n + kThreads - 1) / kThreads, int64_t{multiprocessors()} * 32));
}
unsigned blocks_of_vectors(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

bool holds_vectors(const GradientOut& out) {
  return reinterpret_cast<uintptr_t>(out.at) % 16 == 0;
}

GradientOut out_of(const GradSlot& slot) {
  return {slot.grad.data, slot.accumulate, slot.grad.dtype == DType::bf16};
}

}  // namespace

namespace {

template <class V>
void run_swiglu(const V* gate, const V* up, int64_t n, V* y, void* stream, bool early = false) {
  if (n == 0) return;
  if (n % kEach == 0 && holds_neighbours<V, kEach>(gate) && holds_neighbours<V, kEach>(up) &&
      holds_neighbours<V, kEach>(y))
    return launch_early(early, "swiglu", swiglu_vectors<V>, blocks_of_vectors(n / kEach), kThreads, 0, stream,
                        gate, up, n / kEach, y);
  launch_early(early, "swiglu", swiglu_values<V>, blocks_for(n), kThreads, 0, stream, gate, up, n, y);
}

template <class V>
void run_gradients(Context& ctx, const SwigluBackward& call, const V* gate, const V* up) {
  const int64_t n = call.dy.count();
  const float* dy = call.dy.f32();
  const GradientOut dgate = out_of(call.dgate), dup = out_of(call.dup);
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  if (n % kEach == 0 && holds_neighbours<V, kEach>(gate) && holds_neighbours<V, kEach>(up) &&
      holds_neighbours<float, kEach>(dy) && holds_vectors(dgate) && holds_vectors(dup)) {
    swiglu_vector_gradients<<<blocks_of_vectors(n / kEach), kThreads, 0, stream>>>(gate, up, dy, n / kEach,
                                                                                   dgate, dup);
  } else {
    swiglu_gradients<<<blocks_for(n), kThreads, 0, stream>>>(gate, up, dy, n, dgate, dup);
  }
  check_launch("swiglu_backward");
}

}  // namespace

void swiglu_f32(const float* gate, const float* up, int64_t n, float* y, void* stream) {
  run_swiglu(gate, up, n, y, stream);
}

void swiglu_forward(Context& ctx, const SwigluForward& call) {
  if (ctx.measuring) return;
  if (call.y.dtype == DType::bf16)
    return run_swiglu(call.gate.bf16(), call.up.bf16(), call.y.count(), call.y.bf16(), ctx.stream,
                      launches_early(ctx));
  run_swiglu(call.gate.f32(), call.up.f32(), call.y.count(), call.y.f32(), ctx.stream, launches_early(ctx));
}

// gate and up may be one tensor: then both gradients go to the same memory, dgate first.
void swiglu_backward(Context& ctx, const SwigluBackward& call) {
  if (ctx.measuring || call.dy.count() == 0) return;
  if (call.gate.dtype == DType::bf16) return run_gradients(ctx, call, call.gate.bf16(), call.up.bf16());
  run_gradients(ctx, call, call.gate.f32(), call.up.f32());
}

}  // namespace r1::cuda
