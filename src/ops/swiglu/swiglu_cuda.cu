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
#include "ops/swiglu/swiglu_backend.h"
#include "ops/swiglu/swiglu_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

// V: f32 or bf16.
template <class V>
__global__ void __launch_bounds__(kThreads) swiglu_values(const V* gate, const V* up, int64_t n, V* y) {
  let_next_start();
  await_previous();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const float g = to_f32(gate[i]);
    put_f32(y + i, __fmul_rn(__fdiv_rn(g, __fadd_rn(1.0f, exp_f32(-g))), to_f32(up[i])));
  }
}

// A gradient's memory, and whether the gradient is added to it. Null: not needed.
struct GradientOut {
  float* at;
  bool add;
  __device__ void put(int64_t i, float value) const {
    if (at != nullptr) at[i] = add ? __fadd_rn(at[i], value) : value;
  }
};

template <class V>
__global__ void __launch_bounds__(kThreads) swiglu_gradients(const V* gate, const V* up, const float* dy,
                                                             int64_t n, GradientOut dgate, GradientOut dup) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const float g = to_f32(gate[i]), d = dy[i];
    const float s = __fdiv_rn(1.0f, __fadd_rn(1.0f, exp_f32(-g)));
    const float slope = __fmul_rn(s, __fmaf_rn(g, __fsub_rn(1.0f, s), 1.0f));
    const float dg = __fmul_rn(__fmul_rn(d, to_f32(up[i])), slope), du = __fmul_rn(d, __fmul_rn(g, s));
    dgate.put(i, dg);
    dup.put(i, du);
  }
}

unsigned blocks_for(int64_t n) {
  return static_cast<unsigned>(
      std::min<int64_t>((n + kThreads - 1) / kThreads, int64_t{multiprocessors()} * 32));
}

GradientOut out_of(const GradSlot& slot) {
  return {slot ? slot.grad.f32() : nullptr, slot.accumulate};
}

}  // namespace

namespace {

template <class V>
void run_swiglu(const V* gate, const V* up, int64_t n, V* y, void* stream, bool early = false) {
  if (n == 0) return;
  launch_early(early, "swiglu", swiglu_values<V>, blocks_for(n), kThreads, 0, stream, gate, up, n, y);
}

template <class V>
void run_gradients(Context& ctx, const SwigluBackward& call, const V* gate, const V* up) {
  const int64_t n = call.dy.count();
  swiglu_gradients<<<blocks_for(n), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      gate, up, call.dy.f32(), n, out_of(call.dgate), out_of(call.dup));
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
