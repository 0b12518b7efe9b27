// ops/init/init_cuda.cu: base/normal_numbers.cc on a CUDA device, step by step the same: a thread makes a number.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/init/init_backend.h"
#include "ops/simd/log_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

struct Bits {
  uint32_t at[4];
};

// philox() of base/random.h.
__device__ __forceinline__ Bits philox_bits(Bits counter, uint32_t key0, uint32_t key1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter.at[0], p1 = uint64_t{0xCD9E8D57} * counter.at[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter.at[1] ^ key0, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter.at[3] ^ key1, static_cast<uint32_t>(p0)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

__device__ __forceinline__ double unit_from_bits(uint64_t high, uint64_t low) {
  return __dmul_rn(static_cast<double>((high << 32 | low) >> 11), 0x1p-53);
}

// The cosine of exact_sincos() of base/math.h.
__device__ double exact_cos(double x) {
  const double n = nearbyint(__dmul_rn(x, 0x1.45f306dc9c883p-1));
  double r = __fma_rn(-n, 0x1.921fb544p+0, x);
  r = __fma_rn(-n, 0x1.0b4611a6p-34, r);
  r = __fma_rn(-n, 0x1.3198a2e037073p-69, r);
  const double z = __dmul_rn(r, r);
  const auto quadrant = static_cast<int64_t>(n) & 3;
  if (quadrant % 2 == 1) {
    double s = 1.0 / 355687428096000.0;
    s = __fma_rn(s, z, -1.0 / 1307674368000.0);
    s = __fma_rn(s, z, 1.0 / 6227020800.0);
    s = __fma_rn(s, z, -1.0 / 39916800.0);
    s = __fma_rn(s, z, 1.0 / 362880.0);
    s = __fma_rn(s, z, -1.0 / 5040.0);
    s = __fma_rn(s, z, 1.0 / 120.0);
    s = __fma_rn(s, z, -1.0 / 6.0);
    s = __fma_rn(__dmul_rn(s, z), r, r);
    return quadrant == 1 ? -s : s;
  }
  double c = -1.0 / 6402373705728000.0;
  c = __fma_rn(c, z, 1.0 / 20922789888000.0);
  c = __fma_rn(c, z, -1.0 / 87178291200.0);
  c = __fma_rn(c, z, 1.0 / 479001600.0);
  c = __fma_rn(c, z, -1.0 / 3628800.0);
  c = __fma_rn(c, z, 1.0 / 40320.0);
  c = __fma_rn(c, z, -1.0 / 720.0);
  c = __fma_rn(c, z, 1.0 / 24.0);
  c = __fma_rn(c, z, -0.5);
  c = __fma_rn(c, z, 1.0);
  return quadrant == 0 ? c : -c;
}

__global__ void __launch_bounds__(kThreads)
    fill_numbers(NormalStream stream, double scale, int64_t n, float* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const Bits bits =
        philox_bits({{static_cast<uint32_t>(stream.first + static_cast<uint64_t>(i)), 0,
                      static_cast<uint32_t>(stream.stream), static_cast<uint32_t>(stream.stream >> 32)}},
                    static_cast<uint32_t>(stream.seed), static_cast<uint32_t>(stream.seed >> 32));
    const double u = __dadd_rn(1.0, -unit_from_bits(bits.at[0], bits.at[1]));
    const double cosine = exact_cos(__dmul_rn(6.283185307179586, unit_from_bits(bits.at[2], bits.at[3])));
    const double normal = __dmul_rn(__dsqrt_rn(__dmul_rn(-2.0, exact_log(u))), cosine);
    to[i] = __double2float_rn(__dmul_rn(normal, scale));
  }
}

}  // namespace

void fill_normal(Context& ctx, const FillNormal& call) {
  const int64_t n = call.to.count();
  if (ctx.measuring || n == 0) return;
  const int64_t blocks = std::min(ceil_div(n, int64_t{kThreads}), int64_t{multiprocessors()} * 32);
  fill_numbers<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      call.stream, call.scale, n, call.to.f32());
  check_launch("fill_normal");
}

}  // namespace r1::cuda
