#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/matmul/tensor_product_sm90.h"
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

// Adds chains to D that are summed into `sums` first, at most at_once of them at a time.
void add_apart(const TensorProduct& product, std::span<const TokenChain> chains, float* sums, int64_t at_once,
               cudaStream_t stream) {
  const int64_t n = product.I * product.J;
  auto* const dw = static_cast<float*>(product.d);
  const bool fours = n % 4 == 0 && reinterpret_cast<uintptr_t>(dw) % 16 == 0;
  while (!chains.empty()) {
    const auto here = static_cast<int64_t>(std::min(chains.size(), static_cast<size_t>(at_once)));
    for (int64_t c = 0; c < here; ++c) {
      const TokenChain& chain = chains[static_cast<size_t>(c)];
      TensorProduct one = product;
      one.p.data += chain.first * one.p.row;
      one.q.data += chain.first * one.q.row;
      one.K = chain.count;
      one.d = sums + c * n;
      one.accumulate = false;
      tensor_product(one, stream);
    }
    if (fours) {
      launch_add<float4>(sums, n / 4, here, dw, stream);
    } else {
      launch_add<float>(sums, n, here, dw, stream);
    }
    chains = chains.subspan(static_cast<size_t>(here));
  }
}

}  // namespace

void measure_split_gradient(Context& ctx, int64_t T, int64_t N, int64_t K) {
  constexpr int64_t kShortFamily = 64,
                    kTile = 256;  // tokens; the most that rows and columns are filled up to
  const OpScope scope(ctx);
  const int64_t chain = ceil_div(N, kTile) * kTile * ceil_div(K, kTile) * kTile;
  ctx.arena.array<float>(std::min(kSplitFloats, ceil_div(T, kShortFamily) * chain));
}

void split_weight_gradient(Context& ctx, const uint16_t* x, const uint16_t* dy, int64_t N, int64_t K,
                           float* dw) {
  const OpScope scope(ctx);
  constexpr int64_t kChainTokens = kChainSteps * kTokenStep;
  int64_t most = 0, count = 0, token = 0;
  for (const int64_t tokens : ctx.steps->families) most += ceil_div(tokens, kChainTokens);
  auto* chains = ctx.host().array<TokenChain>(most);
  for (const int64_t tokens : ctx.steps->families) {
    for (int64_t begin = 0; begin < tokens; begin += kChainTokens)
      chains[count++] = {static_cast<int32_t>(token + begin),
                         static_cast<int32_t>(std::min(tokens - begin, kChainTokens))};
    token += tokens;
  }
  const std::span list(chains, static_cast<size_t>(count));
  const TensorProduct product = weight_gradient_product(x, dy, token, N, K, nullptr, 0, dw);
  if (wgmma_takes_chains(N, K)) {
    Upload upload(ctx);
    const int at = upload.add(std::span<const TokenChain>(list));
    upload.send();
    const ChainPlan plan = wgmma_chain_plan(N, K, token, count);
    ChainList chains_there{.list = upload.at<TokenChain>(at), .count = count};
    chains_there.sums = ctx.arena.array<float>(plan.floats);
    chains_there.words = ctx.arena.array<uint32_t>(plan.words);
    if (!ctx.measuring && N * K > 0 && count > 0) wgmma_add_chains(product, plan, chains_there, ctx.stream);
    return;
  }
  const int64_t n = N * K, at_once = std::clamp<int64_t>(kSplitFloats / std::max<int64_t>(n, 1), 1,
                                                         std::max<int64_t>(count, 1));
  float* sums = ctx.arena.array<float>(at_once * n);
  if (!ctx.measuring && n > 0) add_apart(product, list, sums, at_once, static_cast<cudaStream_t>(ctx.stream));
}

}  // namespace r1::cuda
