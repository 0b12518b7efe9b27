// ops/convert/convert_cuda.cu: bf16 <-> f32 on a CUDA device, by integers, as tensor/dtype.cc does it.
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/convert/convert_backend.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float widened(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
__device__ __forceinline__ uint16_t narrowed(float value) {
  const uint32_t bits = __float_as_uint(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

struct ToF32 {
  __device__ float operator()(uint16_t v) const { return widened(v); }
};
struct ToBf16 {
  __device__ uint16_t operator()(float v) const { return narrowed(v); }
};
struct ThroughBf16 {
  __device__ float operator()(float v) const { return widened(narrowed(v)); }
};

template <class From, class To, class F>
__global__ void __launch_bounds__(kThreads) map_values(const From* from, int64_t n, To* to, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step)
    to[i] = f(from[i]);
}

template <class From, class To, class F>
void run(Context& ctx, const char* name, const From* from, int64_t n, To* to, F f) {
  if (ctx.measuring || n == 0) return;
  const int64_t blocks = std::min<int64_t>((n + kThreads - 1) / kThreads, int64_t{multiprocessors()} * 32);
  map_values<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(from, n,
                                                                                                    to, f);
  check_launch(name);
}

}  // namespace

void widen_values(Context& ctx, const Widen& call) {
  run(ctx, "widen", call.from, call.n, call.to, ToF32());
}

void narrow_values(Context& ctx, const Narrow& call) {
  run(ctx, "narrow", call.from, call.n, call.to, ToBf16());
}

void round_values(Context& ctx, const RoundToBf16& call) {
  run(ctx, "round_to_bf16", call.from, call.n, call.to, ThroughBf16());
}

}  // namespace r1::cuda
