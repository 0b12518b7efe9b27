// ops/loss/loss_cuda.cu: log-probs of given tokens on a CUDA device. Packing, chunks and formulas are those
// of loss_cpu.cc; chunks are larger, which changes no bit.
//
// The backward reads the gradients of the log-probs back once, because tokens without one are skipped. In
// numerics whose sums over tokens go in steps (tensor/token_steps.h), the kept tokens of each family are
// filled up to whole steps with tokens that are not there: rows of zeros. In cuda-bf16, the product that computes
// logits again turns each into its gradient before it is stored (LogitGradient), so the backward holds gradients
// of a chunk in bf16 and no logits.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise_cuda.h"
#include "ops/loss/loss.h"
#include "ops/loss/loss_backend.h"
#include "ops/loss/row_softmax_cuda.cuh"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunkLogits = int64_t{1} << 26;  // 256 MiB of scratch
// Tensor cores need more rows at a time: 1 GiB of logits forward, or of gradients in bf16 backward.
constexpr int64_t kTensorLogits = int64_t{1} << 28, kTensorGradients = int64_t{1} << 29;
constexpr int64_t kPerThread = 8;  // logits of a thread in the backward

bool on_tensor_cores(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16;
}
int64_t chunk_tokens(int64_t V, int64_t logits) {
  return std::clamp<int64_t>(logits / std::max<int64_t>(1, V), 1, 16384);
}

struct RowResults {
  float* logprobs;  // [T], as the others
  float* entropy;   // null: not wanted, as max and sum
  float* max;
  float* sum;
};

// One block per row: tempers the logits in place.
template <bool kEntropy>
__global__ void __launch_bounds__(kThreads)
    log_prob_rows(float* logits, int64_t V, float inv_temperature, const int32_t* tokens,
                  const int32_t* targets, RowResults out) {
  __shared__ SoftmaxShared shared;
  float* z = logits + static_cast<int64_t>(blockIdx.x) * V;
  softmax_of_row<kThreads, kEntropy>(z, V, inv_temperature, shared);
  if (threadIdx.x != 0) return;
  const int32_t t = tokens[blockIdx.x], target = targets[blockIdx.x];
  out.logprobs[t] = __fsub_rn(__fsub_rn(z[target], shared.max), shared.log_sum);
  if constexpr (kEntropy) out.entropy[t] = shared.entropy;
  if (out.max != nullptr) {
    out.max[t] = shared.max;
    out.sum[t] = shared.sum;
  }
}

// A kept token of the backward; -1: none.
struct KeptToken {
  int32_t token = 0;
  int32_t target = 0;
  int32_t counted = 0;  // how many tokens before it have a target: its row of the kept logits
  float gradient = 0;
};

struct SoftmaxGradient {
  const KeptToken* kept;  // of this chunk
  const float* logits;    // rows of the chunk, or all kept ones
  bool by_count;          // the latter
  int64_t V;
  float tempered;  // what logits are still to be multiplied by
  float inv_temperature;
  const float *max, *sum;
  float* dz;  // may be `logits`
};

__global__ void __launch_bounds__(kThreads) dz_rows(SoftmaxGradient s) {
  const int64_t i = blockIdx.x;
  const KeptToken kept = s.kept[i];
  float* dz = s.dz + i * s.V;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kThreads * kPerThread + threadIdx.x;
  if (kept.token < 0) {
    for (int64_t e = 0; e < kPerThread; ++e) {
      const int64_t n = first + e * kThreads;
      if (n < s.V) dz[n] = 0.0f;
    }
    return;
  }
  const float c = __fmul_rn(kept.gradient, s.inv_temperature), max = s.max[kept.token];
  const float factor = -__fdiv_rn(c, s.sum[kept.token]);
  const float* logits = s.logits + (s.by_count ? kept.counted : i) * s.V;
#pragma unroll
  for (int64_t e = 0; e < kPerThread; ++e) {
    const int64_t n = first + e * kThreads;
    if (n >= s.V) return;
    const float distance = __fsub_rn(__fmul_rn(logits[n], s.tempered), max);
    const float value = __fmul_rn(exp_f32(distance), factor);
    dz[n] = n == kept.target ? __fadd_rn(value, c) : value;
  }
}

// Row kept[i] of `to` [T, D] becomes, or gets added, row i of `from`.
__global__ void __launch_bounds__(kThreads)
    put_rows(const float* from, const KeptToken* kept, int64_t D, bool add, float* to) {
  const int64_t i = blockIdx.x, t = kept[i].token;
  if (t < 0) return;
  for (int64_t d = threadIdx.x; d < D; d += kThreads) {
    const float value = from[i * D + d];
    to[t * D + d] = add ? __fadd_rn(to[t * D + d], value) : value;
  }
}

// Row i of `to` [n, D] becomes row kept[i] of `from` [T, D], or zeros.
__global__ void __launch_bounds__(kThreads)
    take_rows(const float* from, const KeptToken* kept, int64_t D, float* to) {
  const int64_t i = blockIdx.x, t = kept[i].token;
  for (int64_t d = threadIdx.x; d < D; d += kThreads) to[i * D + d] = t < 0 ? 0.0f : from[t * D + d];
}

// take_rows in bf16, and what the product needs to turn the tokens' logits into gradients.
template <class V>
__global__ void __launch_bounds__(kThreads)
    take_narrow_rows(const V* from, const KeptToken* kept, int64_t D, uint16_t* to, const float* max,
                     const float* sum, float inv_temperature, LogitGradient* gradients) {
  const int64_t i = blockIdx.x;
  const KeptToken k = kept[i];
  for (int64_t d = threadIdx.x; d < D; d += kThreads) {
    if constexpr (sizeof(V) == sizeof(uint16_t)) {
      to[i * D + d] = k.token < 0 ? uint16_t{0} : from[k.token * D + d];
    } else {
      to[i * D + d] = k.token < 0 ? uint16_t{0} : bf16_bits(from[k.token * D + d]);
    }
  }
  if (threadIdx.x != 0) return;
  LogitGradient g;
  if (k.token >= 0) {
    constexpr float kLog2E = 1.44269504f;
    g.own = __fmul_rn(k.gradient, inv_temperature);
    g.most = __fmul_rn(max[k.token], kLog2E);
    g.factor = -__fdiv_rn(g.own, sum[k.token]);
    g.target = k.target;
  }
  gradients[i] = g;
}

// The backward's scratch on tensor cores.
struct TensorLossBackward {
  const LogProbsBackward& call;
  const KeptToken* kept;
  uint16_t *rows, *dz;
  LogitGradient* gradients;
  float* dh;

  void run(Context& ctx, int64_t first, int64_t n) const {
    const LogProbs& f = call.forward;
    const int64_t D = f.h.dim(1), V = f.head->N(), shards = ctx.row().k_shards;
    const uint16_t* w = f.head->bf16_rows(ctx);
    if (ctx.measuring) return;
    const auto stream = static_cast<cudaStream_t>(ctx.stream);
    const auto count = static_cast<unsigned>(n);
    if (f.h.dtype == DType::bf16) {
      take_narrow_rows<<<count, kThreads, 0, stream>>>(f.h.bf16(), kept + first, D, rows, f.max.f32(),
                                                       f.sum.f32(), f.inv_temperature, gradients);
    } else {
      take_narrow_rows<<<count, kThreads, 0, stream>>>(f.h.f32(), kept + first, D, rows, f.max.f32(),
                                                       f.sum.f32(), f.inv_temperature, gradients);
    }
    check_launch("log_probs rows");
    TensorProduct logits = forward_product(
        {.x = rows, .T = n, .w = w, .N = V, .K = D, .y = dz, .y_bf16 = true, .most_shards = shards});
    logits.gradients = gradients;
    logits.exponent = f.inv_temperature * 1.44269504f;
    tensor_product(logits, stream);
    if (call.dh) {
      tensor_product(input_gradient_product(dz, n, w, V, D, shards, false, dh), stream);
      put_rows<<<count, kThreads, 0, stream>>>(dh, kept + first, D, call.dh.accumulate, call.dh.grad.f32());
      check_launch("log_probs dh");
    }
    if (const Tensor& grad = f.head->dense().grad)
      tensor_product(weight_gradient_product(rows, dz, n, V, D, nullptr, 0, grad.f32()), stream);
  }
};

// The backward's scratch, and what its chunks share.
struct LossBackward {
  const LogProbsBackward& call;
  const KeptToken* kept;
  const float* h;  // [T, D]
  float *rows, *dz, *dh;

  void run(Context& ctx, int64_t first, int64_t n) const {
    const LogProbs& f = call.forward;
    const int64_t D = f.h.dim(1), V = f.head->N();
    const auto stream = static_cast<cudaStream_t>(ctx.stream);
    const bool has_logits = static_cast<bool>(f.logits);
    take_rows<<<static_cast<unsigned>(n), kThreads, 0, stream>>>(h, kept + first, D, rows);
    check_launch("log_probs_backward");
    if (!has_logits) matmul_into(ctx, rows, n, *f.head, dz);
    const SoftmaxGradient s{.kept = kept + first,
                            .logits = has_logits ? f.logits.f32() : dz,
                            .by_count = has_logits,
                            .V = V,
                            .tempered = has_logits ? 1.0f : f.inv_temperature,
                            .inv_temperature = f.inv_temperature,
                            .max = f.max.f32(),
                            .sum = f.sum.f32(),
                            .dz = dz};
    const dim3 grid(static_cast<unsigned>(n), static_cast<unsigned>(ceil_div(V, kThreads * kPerThread)));
    dz_rows<<<grid, kThreads, 0, stream>>>(s);
    check_launch("log_probs_backward");
    if (call.dh) {
      f.head->times_transposed(ctx, dz, n, dh, false);
      put_rows<<<static_cast<unsigned>(n), kThreads, 0, stream>>>(dh, s.kept, D, call.dh.accumulate,
                                                                  call.dh.grad.f32());
      check_launch("log_probs_backward");
    }
    Context as_they_are = ctx;  // the rows are whole steps already
    as_they_are.steps = nullptr;
    f.head->add_weight_gradient(as_they_are, dz, rows, n);
  }
};

}  // namespace

void log_probs_forward(Context& ctx, const LogProbs& call) {
  const int64_t T = call.h.dim(0), D = call.h.dim(1), V = call.head->N();
  ctx.memory().zero(call.logprobs.data, call.logprobs.bytes(), ctx.stream);
  if (call.entropy) ctx.memory().zero(call.entropy.data, call.entropy.bytes(), ctx.stream);
  const OpScope scope(ctx);
  auto* kept = ctx.host().array<int32_t>(T);
  auto* wanted = ctx.host().array<int32_t>(T);
  int64_t count = 0;
  for (int64_t t = 0; t < T; ++t) {
    const int32_t target = call.targets[static_cast<size_t>(t)];
    if (target >= 0) kept[count] = static_cast<int32_t>(t), wanted[count++] = target;
  }
  Upload lists(ctx);
  const int kept_list = lists.add(std::span<const int32_t>(kept, static_cast<size_t>(count)));
  const int target_list = lists.add(std::span<const int32_t>(wanted, static_cast<size_t>(count)));
  lists.send();
  const int64_t chunk = std::min(chunk_tokens(V, on_tensor_cores(ctx) ? kTensorLogits : kChunkLogits), count);
  float* rows = ctx.arena.array<float>(chunk * D);
  const float* hidden = as_f32(ctx, call.h);
  float* scratch = call.logits ? nullptr : ctx.arena.array<float>(chunk * V);
  if (ctx.measuring) return matmul_into(ctx, rows, chunk, *call.head, scratch);
  const RowResults out{.logprobs = call.logprobs.f32(),
                       .entropy = call.entropy ? call.entropy.f32() : nullptr,
                       .max = call.max ? call.max.f32() : nullptr,
                       .sum = call.sum ? call.sum.f32() : nullptr};
  const auto kernel = call.entropy ? log_prob_rows<true> : log_prob_rows<false>;
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t n = std::min(chunk, count - first);
    const int32_t* at = kept + first;
    float* logits = scratch != nullptr ? scratch : call.logits.f32() + first * V;
    const float* h = rows;
    if (at[n - 1] - at[0] == n - 1) {
      h = hidden + at[0] * D;
    } else {
      gather_rows_f32(hidden, lists.at<int32_t>(kept_list) + first, n, D, rows, ctx.stream);
    }
    matmul_into(ctx, h, n, *call.head, logits);
    kernel<<<static_cast<unsigned>(n), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
        logits, V, call.inv_temperature, lists.at<int32_t>(kept_list) + first,
        lists.at<int32_t>(target_list) + first, out);
    check_launch("log_probs");
  }
}

void log_probs_backward(Context& ctx, const LogProbsBackward& call) {
  const LogProbs& f = call.forward;
  const int64_t T = f.h.dim(0), D = f.h.dim(1), V = f.head->N();
  if (call.dh && !call.dh.accumulate) ctx.memory().zero(call.dh.grad.data, call.dh.grad.bytes(), ctx.stream);
  const OpScope scope(ctx);
  auto* gradients = ctx.host().array<float>(T);
  // Without steps, all tokens are one family whose last step stays short.
  const bool in_steps = ctx.row().product == Product::tensor_bf16 && ctx.steps != nullptr;
  const std::span<const int64_t> families = in_steps ? ctx.steps->families : std::span<const int64_t>(&T, 1);
  const int64_t most = in_steps ? std::ssize(ctx.steps->rows) : T;
  auto* kept = ctx.host().array<KeptToken>(most);
  if (!ctx.measuring) ctx.memory().read(gradients, call.dlogprobs.f32(), call.dlogprobs.bytes(), ctx.stream);
  int64_t count = 0;
  int32_t before = 0;
  const auto keep = [&](int32_t t) {
    const int32_t target = f.targets[static_cast<size_t>(t)];
    if (target < 0) return;
    if (ctx.measuring || gradients[t] != 0.0f)
      kept[count++] = {t, target, before, ctx.measuring ? 0.0f : gradients[t]};
    ++before;
  };
  int32_t t = 0;
  for (const int64_t tokens : families) {
    for (const auto end = t + static_cast<int32_t>(tokens); t < end; ++t) keep(t);
    while (in_steps && count % kTokenStep != 0) kept[count++] = {.token = -1};
  }
  R1_CHECK(t == T, "families of ", t, " tokens, the batch has ", T);
  const bool tensor = on_tensor_cores(ctx) && f.head->bias() == nullptr;
  const int64_t least = ceil_div(std::max<int64_t>(before, count), kTokenStep) * kTokenStep;
  const int64_t fit = chunk_tokens(V, tensor ? kTensorGradients : kChunkLogits);
  const int64_t size = std::min(std::max(fit / kTokenStep, int64_t{1}) * kTokenStep, least);
  if (tensor) {
    Upload lists(ctx);
    const int kept_list = lists.add(std::span<const KeptToken>(kept, static_cast<size_t>(count)));
    lists.send();
    const TensorLossBackward backward{call,
                                      lists.at<KeptToken>(kept_list),
                                      ctx.arena.array<uint16_t>(size * D),
                                      ctx.arena.array<uint16_t>(size * V),
                                      ctx.arena.array<LogitGradient>(size),
                                      ctx.arena.array<float>(size * D)};
    ctx.tape->await_turn();
    if (ctx.measuring) return backward.run(ctx, 0, size);
    for (int64_t first = 0; first < count; first += size)
      backward.run(ctx, first, std::min(size, count - first));
    return;
  }
  float* rows = ctx.arena.array<float>(size * D);
  float* dz = ctx.arena.array<float>(size * V);
  float* dh = ctx.arena.array<float>(size * D);
  const float* h = as_f32(ctx, f.h);
  Upload lists(ctx);
  const int kept_list = lists.add(std::span<const KeptToken>(kept, static_cast<size_t>(count)));
  lists.send();
  ctx.tape->await_turn();
  if (ctx.measuring) {
    f.head->times(ctx, rows, size, dz);
    if (call.dh) f.head->times_transposed(ctx, dz, size, dh, false);
    return f.head->add_weight_gradient(ctx, dz, rows, size);
  }
  const LossBackward backward{call, lists.at<KeptToken>(kept_list), h, rows, dz, dh};
  for (int64_t first = 0; first < count; first += size)
    backward.run(ctx, first, std::min(size, count - first));
}

}  // namespace r1::cuda
