#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSplitFloats = int64_t{1} << 26;  // 256 MiB of chains at a time, or one chain

// to[i] += from[i], from[n + i], ... in order.
template <class V>
__global__ void __launch_bounds__(kThreads) add_in_order(const V* from, int64_t n, int64_t count, V* to) {
  const int64_t apart = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += apart) {
    V sum = to[i];
#pragma unroll 4
    for (int64_t c = 0; c < count; ++c) {
      const V next = from[c * n + i];
      if constexpr (sizeof(V) == sizeof(float4)) {
        sum = {__fadd_rn(sum.x, next.x), __fadd_rn(sum.y, next.y), __fadd_rn(sum.z, next.z),
               __fadd_rn(sum.w, next.w)};
      } else {
        sum = __fadd_rn(sum, next);
      }
    }
    to[i] = sum;
  }
}

template <class V>
void launch_add(const float* from, int64_t n, int64_t count, float* to, cudaStream_t stream) {
  const int64_t blocks = std::min(ceil_div(n, int64_t{kThreads}), int64_t{multiprocessors()} * 16);
  add_in_order<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(reinterpret_cast<const V*>(from), n,
                                                                       count, reinterpret_cast<V*>(to));
  check_launch("product dw, chains");
}

}  // namespace

void split_weight_gradient(Context& ctx, const uint16_t* x, const uint16_t* dy, int64_t N, int64_t K,
                           float* dw) {
  const OpScope scope(ctx);
  const int64_t steps = std::ssize(ctx.steps->rows) / kTokenStep, n = N * K;
  auto* starts = ctx.host().array<int32_t>(steps + 1);
  int64_t count = 0, step = 0;
  for (const int64_t tokens : ctx.steps->families) {
    const int64_t end = step + ceil_div(tokens, kTokenStep);
    for (; step < end; step = std::min(end, step + kChainSteps)) starts[count++] = static_cast<int32_t>(step);
  }
  R1_CHECK(step == steps, step, " steps of ", steps);
  starts[count] = static_cast<int32_t>(steps);
  Upload upload(ctx);
  const int list = upload.add(std::span<const int32_t>(starts, static_cast<size_t>(count) + 1));
  upload.send();
  const int64_t at_once =
      std::clamp<int64_t>(kSplitFloats / std::max<int64_t>(n, 1), 1, std::max<int64_t>(count, 1));
  float* chains = ctx.arena.array<float>(at_once * n);
  if (ctx.measuring || n == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  TensorProduct product =
      weight_gradient_product(x, dy, 0, N, K, ctx.steps->device, steps * kTokenStep, chains);
  product.accumulate = false;
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t here = std::min(at_once, count - first);
    tensor_split_product(product, {.starts = upload.at<int32_t>(list) + first, .count = here, .d = n},
                         {starts + first, static_cast<size_t>(here) + 1}, stream);
    const bool fours = n % 4 == 0 && reinterpret_cast<uintptr_t>(dw) % 16 == 0;
    if (fours) {
      launch_add<float4>(chains, n / 4, here, dw, stream);
    } else {
      launch_add<float>(chains, n, here, dw, stream);
    }
  }
}

}  // namespace r1::cuda
