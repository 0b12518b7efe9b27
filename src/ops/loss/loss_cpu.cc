// ops/loss/loss_cpu.cc: log-probs of given tokens on the CPU.
//
// Tokens that count are packed together, a chunk at a time, so that skipped ones cost nothing. The logits of
// a token do not depend on its neighbours, so packing changes no bit.
//
// Backward, with c = g * inv_temperature:
//
//   dz[n] = exp(z[n] - m) * -(c / sum), then dz[target] += c
//   dh    = dz W (n in order, from +0)
//   dW continues over t in order, through the chunks
//
// m and sum are kept from the forward.
#include <algorithm>

#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/loss/loss.h"
#include "ops/loss/loss_backend.h"
#include "ops/matmul/gemm.h"
#include "ops/simd/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/loss/loss_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::cpu {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;

// log_sum - (sum of e (z - m)) / sum with e = exp(z - m). Below -100 e is 0; the clamp avoids 0 * -infinity.
float row_entropy(const float* z, int64_t V, float max, float sum, float log_sum) {
  const Lanes16 lanes = fold(Lanes16::set(0.0f), z, V, [max](auto d, auto lane, auto v) R1_LAMBDA {
    const auto shifted = hn::Sub(v, hn::Set(d, max));
    return hn::MulAdd(exp_vector(d, shifted), hn::Max(shifted, hn::Set(d, -100.0f)), lane);
  });
  return log_sum - tree_sum(lanes) / sum;
}

// Turns logits into dz, without the +c of the target.
void row_dz(const float* z, int64_t V, float inv_temperature, float max, float factor, float* dz) {
  map1(z, dz, V, [inv_temperature, max, factor](auto d, auto v) R1_LAMBDA {
    const auto tempered = hn::Mul(v, hn::Set(d, inv_temperature));
    return hn::Mul(exp_vector(d, hn::Sub(tempered, hn::Set(d, max))), hn::Set(d, factor));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1::cpu {

HWY_EXPORT(row_entropy);
HWY_EXPORT(row_dz);

namespace {

// Tokens per chunk: within kLogitFloats of logits, and few enough to stay in a cache.
int64_t chunk_tokens(int64_t V) {
  return std::clamp<int64_t>(kLogitFloats / std::max<int64_t>(1, V), 1, 2048);
}

int64_t softmax_grain(int64_t V) {
  return std::max<int64_t>(1, kGrainFloats / 4 / std::max<int64_t>(1, V));
}

// The tokens that have a target, in order, in the host's arena.
std::span<const int32_t> tokens_with_target(Context& ctx, std::span<const int32_t> targets) {
  auto* at = ctx.host().array<int32_t>(std::ssize(targets));
  size_t count = 0;
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] >= 0) at[count++] = static_cast<int32_t>(t);
  }
  return {at, count};
}

// Scratch of one chunk of the backward.
struct LossChunk {
  const int32_t* kept;
  const int32_t* counted;  // for each kept token, how many tokens before it have a target
  int64_t n;
  const float* h;  // [n, D] packed
  float* dz;       // [n, V]
  float* dh;       // [n, D] packed
  const float* w;  // [V, D] the head as the forward saw it; null: dh is not needed
};

void make_dz(Context& ctx, const LogProbsBackward& call, const LossChunk& chunk) {
  const LogProbs& f = call.forward;
  const int64_t V = f.head->N();
  // Kept logits are already tempered.
  const float* kept_logits = f.logits ? f.logits.f32() : nullptr;
  const float tempered = kept_logits == nullptr ? f.inv_temperature : 1.0f;
  const float *g = call.dlogprobs.f32(), *max = f.max.f32(), *sum = f.sum.f32();
  if (kept_logits == nullptr) matmul_into(ctx, chunk.h, chunk.n, *f.head, chunk.dz);
  ctx.threads.parallel_for(chunk.n, softmax_grain(V), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = chunk.kept[i];
      const float c = g[t] * f.inv_temperature;
      float* row = chunk.dz + i * V;
      const float* logits = kept_logits == nullptr ? row : kept_logits + chunk.counted[i] * V;
      HWY_DYNAMIC_DISPATCH(row_dz)(logits, V, tempered, max[t], -(c / sum[t]), row);
      row[f.targets[static_cast<size_t>(t)]] += c;
    }
  });
}

void hidden_gradient(Context& ctx, const LogProbsBackward& call, const LossChunk& chunk) {
  const int64_t D = call.forward.h.dim(1), V = call.forward.head->N();
  gemm(ctx.threads, {.M = chunk.n,
                     .N = D,
                     .K = V,
                     .a = chunk.dz,
                     .a_row = V,
                     .a_col = 1,
                     .b = chunk.w,
                     .b_panel = kPanel,
                     .b_row = D,
                     .c = chunk.dh,
                     .c_row = D,
                     .accumulate = false});
  float* dh = call.dh.grad.f32();
  const bool add = call.dh.accumulate;
  ctx.threads.parallel_for(chunk.n, row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* to = dh + chunk.kept[i] * D;
      const float* from = chunk.dh + i * D;
      for (int64_t d = 0; d < D; ++d) to[d] = add ? to[d] + from[d] : from[d];
    }
  });
}

}  // namespace

void log_probs_forward(Context& ctx, const LogProbs& call) {
  const int64_t D = call.h.dim(1), V = call.head->N();
  ctx.memory().zero(call.logprobs.data, call.logprobs.bytes(), ctx.stream);
  if (call.entropy) ctx.memory().zero(call.entropy.data, call.entropy.bytes(), ctx.stream);
  const OpScope scope(ctx);
  const std::span<const int32_t> kept = tokens_with_target(ctx, call.targets);
  const int64_t count = std::ssize(kept), chunk = std::min(chunk_tokens(V), count);
  float* rows = ctx.arena.array<float>(chunk * D);
  float* scratch = call.logits ? nullptr : ctx.arena.array<float>(chunk * V);
  float* logprobs = call.logprobs.f32();
  float* entropy = call.entropy ? call.entropy.f32() : nullptr;
  float *max = call.max ? call.max.f32() : nullptr, *sum = call.sum ? call.sum.f32() : nullptr;
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t n = std::min(chunk, count - first);
    const int32_t* at = kept.data() + first;
    float* logits = scratch != nullptr ? scratch : call.logits.f32() + first * V;
    const float* h = rows;
    if (at[n - 1] - at[0] == n - 1 && call.h.dtype == DType::f32) {
      h = call.h.f32() + at[0] * D;
    } else {
      copy_rows_f32(ctx.threads, call.h, {at, static_cast<size_t>(n)}, rows);
    }
    matmul_into(ctx, h, n, *call.head, logits);
    ctx.threads.parallel_for(n, softmax_grain(V), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* z = logits + i * V;
        const int64_t t = at[i];
        const RowSoftmax row = row_softmax(z, V, call.inv_temperature);
        logprobs[t] = row_log_prob(row, z, call.targets[static_cast<size_t>(t)]);
        if (entropy != nullptr)
          entropy[t] = HWY_DYNAMIC_DISPATCH(row_entropy)(z, V, row.max, row.sum, row.log_sum);
        if (max != nullptr) max[t] = row.max, sum[t] = row.sum;
      }
    });
  }
}

// The scratch is as large as if every token with a target had a gradient, so its size is known before the
// gradients are.
void log_probs_backward(Context& ctx, const LogProbsBackward& call) {
  const LogProbs& f = call.forward;
  const int64_t T = f.h.dim(0), D = f.h.dim(1), V = f.head->N();
  if (call.dh && !call.dh.accumulate) ctx.memory().zero(call.dh.grad.data, call.dh.grad.bytes(), ctx.stream);
  const OpScope scope(ctx);
  int32_t* kept = ctx.host().array<int32_t>(T);
  int32_t* counted = ctx.host().array<int32_t>(T);
  int64_t count = 0;
  int32_t before = 0;
  const float* g = call.dlogprobs.f32();
  for (int32_t t = 0; t < T; ++t) {
    if (f.targets[static_cast<size_t>(t)] < 0) continue;
    if (ctx.measuring || g[t] != 0.0f) kept[count] = t, counted[count++] = before;
    ++before;
  }
  const int64_t size = std::min<int64_t>(chunk_tokens(V), before);
  float* rows = ctx.arena.array<float>(size * D);
  float* dz = ctx.arena.array<float>(size * V);
  float* dh = ctx.arena.array<float>(size * D);
  const float* w = call.dh ? f.head->rows(ctx) : nullptr;
  ctx.tape->await_turn();
  for (int64_t first = 0; first < count; first += size) {
    const LossChunk chunk{kept + first, counted + first, std::min(size, count - first), rows, dz, dh, w};
    copy_rows_f32(ctx.threads, f.h, {chunk.kept, static_cast<size_t>(chunk.n)}, rows);
    make_dz(ctx, call, chunk);
    if (call.dh) hidden_gradient(ctx, call, chunk);
    f.head->add_weight_gradient(ctx, chunk.dz, chunk.h, chunk.n);
  }
}

}  // namespace r1::cpu
#endif
