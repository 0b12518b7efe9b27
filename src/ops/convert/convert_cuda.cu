// ops/convert/convert_cuda.cu: bf16 <-> f32 on a CUDA device, limited by the memory's bandwidth.
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/convert/convert_backend.h"
#include "ops/convert/convert_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
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

}  // namespace

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
