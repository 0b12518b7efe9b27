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
#include <cstring>

#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/loss/loss.h"
#include "ops/matmul/gemm.h"
#include "ops/simd/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/loss/loss_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
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
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

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

struct Call {
  Tensor h, logprobs;
  const Weight* head;
  const int32_t* targets;
  float inv_temperature;
  float* max;     // [T] maxima of the tempered logits, kept for the backward
  float* sum;     // [T] likewise
  float* logits;  // [tokens that count, V] tempered, kept if there are few; null: computed again
};

void forward(Context& ctx, const Call& call, float* entropy) {
  const int64_t T = call.h.dim(0), D = call.h.dim(1), V = call.head->N();
  float* logprobs = call.logprobs.f32();
  if (!ctx.measuring) std::fill(logprobs, logprobs + T, 0.0f);
  if (!ctx.measuring && entropy != nullptr) std::fill(entropy, entropy + T, 0.0f);
  const OpScope scope(ctx);
  int32_t* kept = ctx.host().array<int32_t>(T);
  int64_t count = 0;
  for (int32_t t = 0; t < T; ++t) {
    if (call.targets[t] >= 0) kept[count++] = t;
  }
  const int64_t chunk = std::min(chunk_tokens(V), count);
  float* rows = ctx.arena.array<float>(chunk * D);
  float* scratch = call.logits == nullptr ? ctx.arena.array<float>(chunk * V) : nullptr;
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t n = std::min(chunk, count - first);
    const int32_t* at = kept + first;
    float* logits = scratch != nullptr ? scratch : call.logits + first * V;
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
        logprobs[t] = row_log_prob(row, z, call.targets[t]);
        if (entropy != nullptr) {
          entropy[t] = HWY_DYNAMIC_DISPATCH(row_entropy)(z, V, row.max, row.sum, row.log_sum);
        }
        if (call.max != nullptr) call.max[t] = row.max, call.sum[t] = row.sum;
      }
    });
  }
}

// Scratch of one chunk of the backward.
struct Chunk {
  const int32_t* kept;
  const int32_t* counted;  // for each kept token, how many tokens before it count
  int64_t n;
  const float* h;  // [n, D] packed
  float* dz;       // [n, V]
  float* dh;       // [n, D] packed
  const float* w;  // [V, D] the head as the forward saw it; null: dh is not needed
};

void make_dz(Context& ctx, const Call& call, const float* g, const Chunk& chunk) {
  const int64_t V = call.head->N();
  // Kept logits are already tempered.
  const float tempered = call.logits == nullptr ? call.inv_temperature : 1.0f;
  if (call.logits == nullptr) matmul_into(ctx, chunk.h, chunk.n, *call.head, chunk.dz);
  ctx.threads.parallel_for(chunk.n, softmax_grain(V), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = chunk.kept[i];
      const float c = g[t] * call.inv_temperature;
      float* row = chunk.dz + i * V;
      const float* logits = call.logits == nullptr ? row : call.logits + chunk.counted[i] * V;
      HWY_DYNAMIC_DISPATCH(row_dz)(logits, V, tempered, call.max[t], -(c / call.sum[t]), row);
      row[call.targets[t]] += c;
    }
  });
}

void chunk_backward(Context& ctx, const Call& call, const Chunk& chunk, const GradSlot& slot) {
  const int64_t D = call.h.dim(1), V = call.head->N();
  Parameter& w = call.head->dense();
  if (slot) {
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
    float* dh = slot.grad.f32();
    ctx.threads.parallel_for(chunk.n, row_grain(D), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* to = dh + chunk.kept[i] * D;
        const float* from = chunk.dh + i * D;
        for (int64_t d = 0; d < D; ++d) to[d] = slot.accumulate ? to[d] + from[d] : from[d];
      }
    });
  }
  if (w.grad) {
    gemm(ctx.threads, {.M = V,
                       .N = D,
                       .K = chunk.n,
                       .a = chunk.dz,
                       .a_row = 1,
                       .a_col = V,
                       .b = chunk.h,
                       .b_panel = kPanel,
                       .b_row = D,
                       .c = w.grad.f32(),
                       .c_row = D,
                       .accumulate = true});
  }
  if (Parameter* bias = call.head->bias(); bias != nullptr && bias->grad) {
    const ArenaScope scope(ctx.arena);
    int32_t* zeros = ctx.arena.array<int32_t>(chunk.n);
    std::fill(zeros, zeros + chunk.n, 0);
    scatter_add_rows(ctx.threads, chunk.dz, {zeros, static_cast<size_t>(chunk.n)}, V, bias->grad.f32());
  }
}

void backward(Context& ctx, const Call& call) {
  const Tensor grad = ctx.tape->grad(call.logprobs);
  if (!grad) return;
  const int64_t T = call.h.dim(0), D = call.h.dim(1), V = call.head->N();
  const float* g = grad.f32();
  const GradSlot slot = ctx.tape->slot(call.h);
  if (!ctx.measuring && slot && !slot.accumulate)
    std::memset(slot.grad.data, 0, static_cast<size_t>(T * D) * sizeof(float));
  const OpScope scope(ctx);
  int32_t* kept = ctx.host().array<int32_t>(T);
  int32_t* counted = ctx.host().array<int32_t>(T);
  int64_t count = 0;
  for (int32_t t = 0, before = 0; t < T; ++t) {
    if (call.targets[t] < 0) continue;
    if (ctx.measuring || g[t] != 0.0f) kept[count] = t, counted[count++] = before;
    ++before;
  }
  const int64_t size = std::min(chunk_tokens(V), count);
  float* rows = ctx.arena.array<float>(size * D);
  float* dz = ctx.arena.array<float>(size * V);
  float* dh = ctx.arena.array<float>(size * D);
  const float* w = slot ? call.head->rows(ctx) : nullptr;
  ctx.tape->await_turn();
  for (int64_t first = 0; first < count; first += size) {
    const Chunk chunk{kept + first, counted + first, std::min(size, count - first), rows, dz, dh, w};
    copy_rows_f32(ctx.threads, call.h, {chunk.kept, static_cast<size_t>(chunk.n)}, rows);
    make_dz(ctx, call, g, chunk);
    chunk_backward(ctx, call, chunk, slot);
  }
}

}  // namespace

Tensor token_log_probs(Context& ctx, const Tensor& h, const Weight& head, std::span<const int32_t> targets,
                       float temperature, float* entropy) {
  R1_CHECK(h.shape.rank() == 2 && h.dim(1) == head.K(), "hidden states ", h.shape.str(), ", head ",
           head.dense().value.shape.str());
  const int64_t T = h.dim(0);
  R1_CHECK(static_cast<int64_t>(targets.size()) == T, targets.size(), " targets, ", T, " tokens");
  R1_CHECK(temperature > 0, "temperature ", temperature);
  for (const int32_t target : targets) {
    R1_CHECK(target >= -1 && target < head.N(), "target ", target, " of ", head.N());
  }
  const bool keep = ctx.tape != nullptr;
  const Call call{
      .h = h,
      .logprobs = ctx.output({T}),
      .head = &head,
      .targets = targets.data(),
      .inv_temperature = 1.0f / temperature,
      .max = keep ? ctx.arena.array<float>(T) : nullptr,
      .sum = keep ? ctx.arena.array<float>(T) : nullptr,
      .logits = keep && T * head.N() <= kKeptLogits ? ctx.arena.array<float>(T * head.N()) : nullptr};
  forward(ctx, call, entropy);
  if (keep) ctx.tape->record([call](Context& c) { backward(c, call); });
  return call.logprobs;
}

}  // namespace r1
#endif
