// ops/attention/decode_cuda.cu: a block per (row, group) of a decoding step computes all of it:
//
//   scores    a thread has two keys and all heads of the group: a chain over K each
//   softmax   a warp per head: maximum, exps, their sum in 32 lanes
//   values    a thread has two columns of up to kPer heads: a chain over the keys each
//
// The next chunk of keys or values is on its way while one is computed with. Chains and their order are those of
// attention_cuda.cu.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/attention/decode_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kTile = static_cast<int>(kKeyTile);
constexpr int kMostHeads = 8, kMostThreads = 256, kLeastThreads = 128;
constexpr int64_t kMostShared = int64_t{96} << 10;  // sm_89 has 99 KiB per block

template <class V>
struct Job {
  int64_t H, G, K, width;
  int heads;  // per group
  float scale;
  const V* q;
  V* out;
  const V* pages;
  int64_t page_elements, values_at;
  DecodeLists lists;
};

// Two neighbours as they lie in memory.
template <class V>
struct Pair;
template <>
struct Pair<float> {
  static constexpr int kChunk = 8;
  float2 bits;
  __device__ void load(const float* from) { bits = *reinterpret_cast<const float2*>(from); }
  __device__ float low() const { return bits.x; }
  __device__ float high() const { return bits.y; }
};
template <>
struct Pair<uint16_t> {
  static constexpr int kChunk = 16;
  uint32_t bits;
  __device__ void load(const uint16_t* from) { bits = *reinterpret_cast<const uint32_t*>(from); }
  __device__ float low() const { return __uint_as_float(bits << 16); }
  __device__ float high() const { return __uint_as_float(bits & 0xFFFF0000u); }
};

// A page; slots below `split` lie in the prefix's last page.
template <class V>
struct SplitPage {
  const V *own, *tail;
  int split;
  __device__ SplitPage(const Job<V>& f, int64_t s, int page) {
    const DecodeLists& l = f.lists;
    own = f.pages + l.table[s * l.max_pages + page] * f.page_elements;
    tail = own, split = 0;
    if (l.tails == nullptr || l.tails[s] < 0 || page != l.prefixes[s] / kTile) return;
    tail = f.pages + l.tails[s] * f.page_elements;
    split = static_cast<int>(l.prefixes[s] % kTile);
  }
  __device__ const V* of(int slot) const { return slot < split ? tail : own; }
};

// Scores of the row's keys -> e [heads][stride].
template <int kHeads, class V>
__device__ void score_keys(const Job<V>& f, int64_t s, int64_t g, int pages, const float* q, float* e,
                           int stride) {
  constexpr int kChunk = Pair<V>::kChunk;
  const int K = static_cast<int>(f.K);
  for (int pair = static_cast<int>(threadIdx.x); pair < pages * (kTile / 2);
       pair += static_cast<int>(blockDim.x)) {
    const int page = pair / (kTile / 2), slot = pair % (kTile / 2) * 2;
    const SplitPage<V> held(f, s, page);
    const int64_t first = g * f.K * kTile + slot;
    const V *low = held.of(slot) + first, *high = held.of(slot + 1) + first;
    float sums[kHeads][2] = {};
    if (low == high) {
      Pair<V> now[kChunk], next[kChunk];
#pragma unroll
      for (int k = 0; k < kChunk; ++k) now[k].load(low + k * kTile);
      for (int k0 = 0; k0 < K; k0 += kChunk) {
        if (k0 + kChunk < K) {
#pragma unroll
          for (int k = 0; k < kChunk; ++k) next[k].load(low + (k0 + kChunk + k) * kTile);
        }
#pragma unroll
        for (int k = 0; k < kChunk; k += 4) {
#pragma unroll
          for (int h = 0; h < kHeads; ++h) {
            const float4 qs = *reinterpret_cast<const float4*>(q + h * K + k0 + k);
            sums[h][0] = __fmaf_rn(qs.x, now[k].low(), sums[h][0]);
            sums[h][1] = __fmaf_rn(qs.x, now[k].high(), sums[h][1]);
            sums[h][0] = __fmaf_rn(qs.y, now[k + 1].low(), sums[h][0]);
            sums[h][1] = __fmaf_rn(qs.y, now[k + 1].high(), sums[h][1]);
            sums[h][0] = __fmaf_rn(qs.z, now[k + 2].low(), sums[h][0]);
            sums[h][1] = __fmaf_rn(qs.z, now[k + 2].high(), sums[h][1]);
            sums[h][0] = __fmaf_rn(qs.w, now[k + 3].low(), sums[h][0]);
            sums[h][1] = __fmaf_rn(qs.w, now[k + 3].high(), sums[h][1]);
          }
        }
#pragma unroll
        for (int k = 0; k < kChunk; ++k) now[k] = next[k];
      }
    } else {  // the prefix ends between the two keys
      for (int k = 0; k < K; ++k) {
        const float a = to_f32(low[k * kTile]), b = to_f32(high[k * kTile + 1]);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          sums[h][0] = __fmaf_rn(q[h * K + k], a, sums[h][0]);
          sums[h][1] = __fmaf_rn(q[h * K + k], b, sums[h][1]);
        }
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float2 scores{sums[h][0], sums[h][1]};
      if (f.scale != 1.0f) scores = {__fmul_rn(scores.x, f.scale), __fmul_rn(scores.y, f.scale)};
      *reinterpret_cast<float2*>(e + h * stride + page * kTile + slot) = scores;
    }
  }
}

// Exps in place of a head's scores. Returns their sum, by one warp.
__device__ float exps_of_head(float* e, int keys) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float max = -__builtin_huge_valf();
  for (int j = lane; j < keys; j += 32) max = fmaxf(max, e[j]);
  max = warp_max(max);
  float sum = 0.0f;
#pragma unroll 4
  for (int j = lane; j < keys; j += 32) {
    const float value = exp_f32(__fsub_rn(e[j], max));
    e[j] = value;
    sum = __fadd_rn(sum, value);
  }
  return warp_tree_sum(sum);
}

// Sums of columns `column` and `column + 1` for heads [head, head + kPer).
template <int kPer, class V>
__device__ void sum_values(const Job<V>& f, int64_t s, int64_t g, int keys, int column, const float* e,
                           int stride, float (&sums)[kPer][2]) {
  constexpr int kChunk = Pair<V>::kChunk;
  Pair<V> now[kChunk], next[kChunk];
  const auto load = [&](Pair<V>(&to)[kChunk], int j0) {
    const SplitPage<V> held(f, s, j0 / kTile);
    const int64_t first = f.values_at + g * kTile * f.width + column;
#pragma unroll
    for (int j = 0; j < kChunk; ++j) {
      const int slot = j0 % kTile + j;
      to[j].load(held.of(slot) + first + slot * f.width);
    }
  };
  load(now, 0);
  for (int j0 = 0; j0 < keys; j0 += kChunk) {
    if (j0 + kChunk < keys) load(next, j0 + kChunk);
    if (j0 + kChunk <= keys) {
#pragma unroll
      for (int j = 0; j < kChunk; j += 4) {
#pragma unroll
        for (int h = 0; h < kPer; ++h) {
          const float4 es = *reinterpret_cast<const float4*>(e + h * stride + j0 + j);
          sums[h][0] = __fmaf_rn(es.x, now[j].low(), sums[h][0]);
          sums[h][1] = __fmaf_rn(es.x, now[j].high(), sums[h][1]);
          sums[h][0] = __fmaf_rn(es.y, now[j + 1].low(), sums[h][0]);
          sums[h][1] = __fmaf_rn(es.y, now[j + 1].high(), sums[h][1]);
          sums[h][0] = __fmaf_rn(es.z, now[j + 2].low(), sums[h][0]);
          sums[h][1] = __fmaf_rn(es.z, now[j + 2].high(), sums[h][1]);
          sums[h][0] = __fmaf_rn(es.w, now[j + 3].low(), sums[h][0]);
          sums[h][1] = __fmaf_rn(es.w, now[j + 3].high(), sums[h][1]);
        }
      }
    } else {
#pragma unroll
      for (int j = 0; j < kChunk; ++j) {
        if (j0 + j >= keys) break;
#pragma unroll
        for (int h = 0; h < kPer; ++h) {
          sums[h][0] = __fmaf_rn(e[h * stride + j0 + j], now[j].low(), sums[h][0]);
          sums[h][1] = __fmaf_rn(e[h * stride + j0 + j], now[j].high(), sums[h][1]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kChunk; ++j) now[j] = next[j];
  }
}

// kHeads: the heads of a group, or more: the queries of those that are not there are 0.
template <int kHeads, class V>
__global__ void __launch_bounds__(kMostThreads) decode_row(Job<V> f) {
  constexpr int kPer = (kHeads + 3) / 4;
  extern __shared__ __align__(16) float decode_shared[];
  __shared__ float totals[kHeads];
  let_next_start();
  await_previous();
  const int64_t s = blockIdx.x, g = blockIdx.y;
  const int position = f.lists.positions[s], thread = static_cast<int>(threadIdx.x),
            threads = static_cast<int>(blockDim.x);
  V* const out = f.out + (s * f.H + g * f.heads) * f.width;
  if (position < 0) {
    for (int i = thread; i < f.heads * f.width; i += threads) put_f32(out + i, 0.0f);
    return;
  }
  const int keys = position + 1, pages = position / kTile + 1, K = static_cast<int>(f.K),
            stride = pages * kTile;
  float *const q = decode_shared, *const e = decode_shared + kHeads * K;
  const V* const queries = f.q + (s * f.H + g * f.heads) * K;
  for (int i = thread; i < kHeads * K; i += threads) q[i] = i < f.heads * K ? to_f32(queries[i]) : 0.0f;
  __syncthreads();
  score_keys<kHeads>(f, s, g, pages, q, e, stride);
  __syncthreads();
  for (int h = thread / 32; h < f.heads; h += threads / 32) {
    const float total = exps_of_head(e + h * stride, keys);
    if (thread % 32 == 0) totals[h] = total;
  }
  __syncthreads();
  const int across = static_cast<int>(f.width) / 2, column = thread % across * 2,
            head = thread / across * kPer;
  if (head >= f.heads) return;
  float sums[kPer][2] = {};
  sum_values<kPer>(f, s, g, keys, column, e + head * stride, stride, sums);
#pragma unroll
  for (int h = 0; h < kPer; ++h) {
    if (head + h >= f.heads) break;
    V* const to = out + (head + h) * f.width + column;
    put_f32(to, __fdiv_rn(sums[h][0], totals[head + h]));
    put_f32(to + 1, __fdiv_rn(sums[h][1], totals[head + h]));
  }
}

// The instance for so many heads.
template <class V>
auto kernel_for(int heads, int* held) {
  switch (*held = heads <= 4 ? heads : heads <= 6 ? 6 : 8) {
    case 1:
      return decode_row<1, V>;
    case 2:
      return decode_row<2, V>;
    case 3:
      return decode_row<3, V>;
    case 4:
      return decode_row<4, V>;
    case 6:
      return decode_row<6, V>;
    default:
      return decode_row<8, V>;
  }
}

int64_t shared_bytes(int64_t heads, int64_t K, int64_t max_pages) {
  return heads * (K + max_pages * kTile) * static_cast<int64_t>(sizeof(float));
}

template <class V>
void run(Context& ctx, const AttentionForward& call, const DecodeLists& lists) {
  const KvPages& pages = call.pages;
  Job<V> f{};
  f.H = call.q.dim(1), f.G = pages.G, f.K = pages.K, f.width = pages.V;
  f.heads = static_cast<int>(f.H / f.G);
  f.scale = call.scale;
  f.q = static_cast<const V*>(call.q.data), f.out = static_cast<V*>(call.out.data);
  f.pages = static_cast<const V*>(pages.data);
  f.page_elements = pages.page_elements();
  f.values_at = pages.G * pages.K * kKeyTile;
  f.lists = lists;
  int held = 0;
  const auto kernel = kernel_for<V>(f.heads, &held);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kMostShared)),
        "cudaFuncSetAttribute");
  const dim3 grid(static_cast<unsigned>(lists.S), static_cast<unsigned>(f.G));
  const auto threads = static_cast<unsigned>(
      std::max<int64_t>(kLeastThreads, ceil_div(ceil_div(f.heads, (held + 3) / 4) * (f.width / 2), 32) * 32));
  const auto shared = static_cast<size_t>(shared_bytes(held, f.K, lists.max_pages));
  launch_early(launches_early(ctx), "decode_rows", kernel, grid, threads, shared, ctx.stream, f);
}

}  // namespace

bool decodes(const Batch& batch) {
  if (batch.T() != batch.S() || batch.T() == 0) return false;
  for (int64_t s = 0; s <= batch.S(); ++s)
    if (batch.offsets[static_cast<size_t>(s)] != s) return false;
  return true;
}

DecodeLists decode_lists(Context& ctx, const Batch& batch) {
  DecodeLists lists{.positions = on_device(ctx, batch.positions), .table = on_device(ctx, batch.pages)};
  lists.S = batch.S(), lists.max_pages = batch.max_pages;
  if (!batch.prefixes.empty()) {
    lists.prefixes = on_device(ctx, batch.prefixes);
    lists.tails = on_device(ctx, batch.tails);
  }
  return lists;
}

bool has_decode_rows(const AttentionForward& call) {
  const KvPages& p = call.pages;
  const int64_t heads = call.q.dim(1) / p.G;
  const int64_t chunk = p.dtype == DType::f32 ? Pair<float>::kChunk : Pair<uint16_t>::kChunk;
  return !p.values_in_keys && heads <= kMostHeads && p.K % chunk == 0 && p.V % 16 == 0 &&
         2 * p.V <= kMostThreads && shared_bytes(kMostHeads, p.K, call.batch.max_pages) <= kMostShared &&
         call.saved.sums == nullptr;
}

void decode_rows(Context& ctx, const AttentionForward& call, const DecodeLists& lists) {
  if (ctx.measuring) return;
  if (call.pages.dtype == DType::f32) return run<float>(ctx, call, lists);
  run<uint16_t>(ctx, call, lists);
}

}  // namespace r1::cuda
