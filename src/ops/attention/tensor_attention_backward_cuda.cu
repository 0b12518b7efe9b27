// ops/attention/tensor_attention_backward_cuda.cu: the backward of tensor_attention_cuda.h.
//
//   prepare_rows     rounds d_o to bf16; log_sum = M c + log2 L and delta = sum over v of o d_o
//   key_gradients    dk and dv of 64 keys, 16 per warp: all query rows that see them pass by, 32 at a time
//   query_gradients  dq of 64 query rows, 16 per warp: all keys pass by, 64 at a time
//
// Scores are computed twice, once transposed, so that no sum needs an atomic and nothing of [T, keys] is held. The
// tokens of a family (a row and its children) follow each other, so the query rows that see a key are one range.
#include <cuda_runtime.h>

#include <algorithm>
#include <span>
#include <type_traits>

#include "base/integers.h"
#include "ops/attention/tensor_backward_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 128, kTileRows = 64, kPassing = 32;  // query rows of a stage
static_assert(kTileRows == kTileKeys);

// A half-warp per row of [T, H]; each lane adds every 16th group of four.
constexpr int kRowLanes = 16, kGroup = 4;
template <bool kVectors>
__global__ void __launch_bounds__(kThreads) prepare_rows(TensorBackwardJob b) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kRowLanes,
                at = min(row, b.rows - 1);
  const int lane = static_cast<int>(threadIdx.x) % kRowLanes;
  float delta = 0.0f;
  for (int v = kGroup * lane; v < b.V; v += kGroup * kRowLanes) {
    const float* const gradient = b.d_out + at * b.V + v;
    const float* const out = b.out + at * b.V + v;
    uint16_t* const rounded = b.d_o + at * b.V + v;
    if constexpr (kVectors) {
      const float4 d = *reinterpret_cast<const float4*>(gradient), o = *reinterpret_cast<const float4*>(out);
      const uint2 bits = {pack_bf16(d.x, d.y), pack_bf16(d.z, d.w)};
      *reinterpret_cast<uint2*>(rounded) = bits;
      delta = __fmaf_rn(o.x, __uint_as_float(bits.x << 16), delta);
      delta = __fmaf_rn(o.y, __uint_as_float(bits.x & 0xFFFF0000), delta);
      delta = __fmaf_rn(o.z, __uint_as_float(bits.y << 16), delta);
      delta = __fmaf_rn(o.w, __uint_as_float(bits.y & 0xFFFF0000), delta);
    } else {
      for (int e = 0; e < kGroup && v + e < b.V; ++e) {
        rounded[e] = bf16_bits(gradient[e]);
        delta = __fmaf_rn(out[e], to_f32(rounded[e]), delta);
      }
    }
  }
#pragma unroll
  for (int apart = kRowLanes / 2; apart > 0; apart /= 2)
    delta = __fadd_rn(delta, __shfl_xor_sync(~0u, delta, apart));
  if (lane != 0 || row >= b.rows) return;
  b.deltas[at] = delta;
  b.log_sums[at] = __fmaf_rn(reference_of(b.maxima[at]), b.scale_log2, log2f(b.sums[at]));
}

// Copies kLines lines of two arrays, which lie one behind the other in shared memory; row(line) is the row of both, -1:
// lines of zeros. A thread has one vector of every kApart-th line.
template <int kWidth, int kLines, class Row>
__device__ __forceinline__ void copy_both(uint16_t* to, const uint16_t* left, int left_width,
                                          bool left_vectors, const uint16_t* right, int right_width,
                                          bool right_vectors, const Row& row) {
  constexpr int kVectors = kWidth / kVector, kApart = kThreads / kVectors;
  const int vector = static_cast<int>(threadIdx.x) % kVectors,
            first = static_cast<int>(threadIdx.x) / kVectors;
#pragma unroll
  for (int line = 0; line < kLines; line += kApart) {
    const int64_t at = row(first + line);
    Lines<kWidth>::copy_vector_of(to, first + line, vector, at < 0 ? nullptr : left + at * left_width, left,
                                  left_width, left_vectors);
    Lines<kWidth>::copy_vector_of(to + kLines * kWidth, first + line, vector,
                                  at < 0 ? nullptr : right + at * right_width, right, right_width,
                                  right_vectors);
  }
}

// The numbers from which a query row's probabilities follow; those of rows that are not there are zeros, as are their
// queries and gradients.
template <int kCount>
struct RowFacts {
  float log_sums[kCount], deltas[kCount];
  template <class Row>
  __device__ __forceinline__ void copy(const TensorBackwardJob& b, const Row& row) {
    const auto i = static_cast<int>(threadIdx.x);
    if (i >= kCount) return;
    const int64_t at = row(i);
    const int64_t from = at < 0 ? 0 : at;
    copy_float(static_cast<uint32_t>(__cvta_generic_to_shared(log_sums + i)), b.log_sums + from, at >= 0);
    copy_float(static_cast<uint32_t>(__cvta_generic_to_shared(deltas + i)), b.deltas + from, at >= 0);
  }
};

template <int kCount>
__device__ __forceinline__ void clear(float (&sums)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[n][e] = 0.0f;
  }
}

// sums += A B over the width: A are rows of `left` from `first` on, B all kColumns rows of `right`.
template <int kWidth, int kColumns>
__device__ __forceinline__ void products_of_rows(float (&sums)[kColumns / 8][4], const uint16_t* left,
                                                 int first, const uint16_t* right) {
  clear(sums);
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    uint32_t a[4];
    Lines<kWidth>::rows_as_a(a, left, first, step);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[4];
      Lines<kWidth>::rows_as_b(b, right, 16 * n, step);
      tensor_mma(sums[2 * n], a, b);
      tensor_mma(sums[2 * n + 1], a, b + 2);
    }
  }
}

// sums += weights times the lines of `right`: weights [16, kInner] lie as an accumulator does.
template <int kWidth, int kInner>
__device__ __forceinline__ void add_weighted(float (&sums)[kWidth / 8][4],
                                             const float (&weights)[kInner / 8][4], const uint16_t* right) {
#pragma unroll
  for (int step = 0; step < kInner / 16; ++step) {
    const float(&low)[4] = weights[2 * step];
    const float(&high)[4] = weights[2 * step + 1];
    const uint32_t a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]),
                           pack_bf16(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < kWidth / 16; ++n) {
      uint32_t b[4];
      Lines<kWidth>::columns_as_b(b, right, 16 * n, step);
      tensor_mma(sums[2 * n], a, b);
      tensor_mma(sums[2 * n + 1], a, b + 2);
    }
  }
}

// Row `line` of a warp's sums goes to at(line), null: nowhere.
template <int kWidth, class At>
__device__ __forceinline__ void store_sums(const float (&sums)[kWidth / 8][4], float scale, int width,
                                           bool add, const At& at) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float* const to = at(lane / 4 + 8 * h);
    if (to == nullptr) continue;
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 8 * n + lane % 4 * 2 + e;
        if (column >= width) continue;
        const float sum = finished(sums[n][2 * h + e], scale);
        to[column] = add ? __fadd_rn(to[column], sum) : sum;
      }
    }
  }
}

template <int kWidth>
constexpr int kKeyGradientBytes = 2 * kWidth * (2 * kTileRows + 4 * kPassing);
template <int kWidth>
constexpr int kQueryGradientBytes = 2 * kWidth * (2 * kTileRows + 4 * kBlockKeys);
static_assert(kQueryGradientBytes<128> + 2048 <= 99 * 1024, "sm_89 has no more per block");

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 2) key_gradients(TensorBackwardJob b, const TileOfKeys* tiles) {
  extern __shared__ __align__(128) uint16_t gradient_memory[];
  __shared__ RowFacts<kPassing> facts[2];
  uint16_t* const keys = gradient_memory;
  const uint16_t* const values = keys + kTileRows * kWidth;
  uint16_t* const stages = keys + 2 * kTileRows * kWidth;  // queries, d_o; two of each
  const TileOfKeys t = tiles[blockIdx.x];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  copy_both<kWidth, kTileRows>(keys, b.k, b.K, b.k_vectors, b.v, b.V, b.v_vectors, [&](int i) {
    return i < t.keys ? static_cast<int64_t>(t.token + i) * b.G + t.g : int64_t{-1};
  });
  const auto copy = [&](int row0, int stage) {
    const auto index_of = [&](int i) {
      const int row = row0 + i, token = b.by_heads.of(row);
      return row < t.end
                 ? static_cast<int64_t>(t.query_token + token) * b.H + t.g * b.heads + row - token * b.heads
                 : int64_t{-1};
    };
    copy_both<kWidth, kPassing>(stages + stage * 2 * kPassing * kWidth, b.q, b.K, b.k_vectors, b.d_o, b.V,
                                b.v_vectors, index_of);
    facts[stage].copy(b, index_of);
  };
  copy(t.begin, 0);
  copy_commit();
  float dk[kWidth / 8][4], dv[kWidth / 8][4];
  clear(dk);
  clear(dv);
  const int first_row =
      t.begin + (16 * warp + lane / 4) * b.heads;  // the first row that sees the first of this thread's two keys
  int stage = 0;
  for (int row0 = t.begin; row0 < t.end; row0 += kPassing, stage ^= 1) {
    copy_wait<0>();
    __syncthreads();
    if (row0 + kPassing < t.end) copy(row0 + kPassing, stage ^ 1);
    copy_commit();
    const uint16_t* const queries = stages + stage * 2 * kPassing * kWidth;
    const uint16_t* const d_o = queries + kPassing * kWidth;
    float p[kPassing / 8][4], slopes[kPassing / 8][4];
    products_of_rows<kWidth, kPassing>(p, keys, 16 * warp, queries);
    products_of_rows<kWidth, kPassing>(slopes, values, 16 * warp, d_o);
#pragma unroll
    for (int n = 0; n < kPassing / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int i = 8 * n + lane % 4 * 2 + e;
        const float log_sum = facts[stage].log_sums[i], delta = facts[stage].deltas[i];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& value = p[n][2 * h + e];
          value =
              row0 + i >= first_row + 8 * h * b.heads ? probability_of(value, b.scale_log2, log_sum) : 0.0f;
          float& slope = slopes[n][2 * h + e];
          slope = __fmul_rn(value, __fsub_rn(slope, delta));
        }
      }
    }
    add_weighted<kWidth, kPassing>(dv, p, d_o);
    add_weighted<kWidth, kPassing>(dk, slopes, queries);
  }
  const auto place = [&](float* gradient, int width) {
    return [=](int line) {
      const int i = 16 * warp + line;
      return gradient != nullptr && i < t.keys
                 ? gradient + (static_cast<int64_t>(t.token + i) * b.G + t.g) * width
                 : nullptr;
    };
  };
  store_sums<kWidth>(dk, b.scale, b.K, b.add_dk, place(b.dk, b.K));
  store_sums<kWidth>(dv, 1.0f, b.V, b.add_dv, place(b.dv, b.V));
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    query_gradients(TensorBackwardJob b, const TileOfQueries* tiles) {
  extern __shared__ __align__(128) uint16_t gradient_memory[];
  __shared__ RowFacts<kTileRows> facts;
  uint16_t* const queries = gradient_memory;
  const uint16_t* const d_o = queries + kTileRows * kWidth;
  uint16_t* const stages = queries + 2 * kTileRows * kWidth;  // keys, values; two of each
  const TileOfQueries t = tiles[blockIdx.x];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const auto index_of = [&](int i) {
    const int row = t.row + i, token = b.by_heads.of(row);
    return i < t.rows ? static_cast<int64_t>(t.first + token) * b.H + t.g * b.heads + row - token * b.heads
                      : int64_t{-1};
  };
  copy_both<kWidth, kTileRows>(queries, b.q, b.K, b.k_vectors, b.d_o, b.V, b.v_vectors, index_of);
  facts.copy(b, index_of);
  const int seen = t.prefix + b.by_heads.of(t.row + t.rows - 1) + 1;
  const auto copy = [&](int key0, int stage) {
    copy_both<kWidth, kBlockKeys>(
        stages + stage * 2 * kBlockKeys * kWidth, b.k, b.K, b.k_vectors, b.v, b.V, b.v_vectors, [&](int i) {
          const int key = key0 + i;
          const int token = key < t.prefix ? t.prefix_first + key : t.first + key - t.prefix;
          return key < seen ? static_cast<int64_t>(token) * b.G + t.g : int64_t{-1};
        });
  };
  copy(0, 0);
  copy_commit();
  float dq[kWidth / 8][4];
  clear(dq);
  int stage = 0;
  for (int key0 = 0; key0 < seen; key0 += kBlockKeys, stage ^= 1) {
    copy_wait<0>();
    __syncthreads();
    if (key0 + kBlockKeys < seen) copy(key0 + kBlockKeys, stage ^ 1);
    copy_commit();
    const uint16_t* const keys = stages + stage * 2 * kBlockKeys * kWidth;
    const uint16_t* const values = keys + kBlockKeys * kWidth;
    float p[kBlockKeys / 8][4], slopes[kBlockKeys / 8][4];
    products_of_rows<kWidth, kBlockKeys>(p, queries, 16 * warp, keys);
    products_of_rows<kWidth, kBlockKeys>(slopes, d_o, 16 * warp, values);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = 16 * warp + lane / 4 + 8 * h, last = t.prefix + b.by_heads.of(t.row + r);
      const float log_sum = facts.log_sums[r], delta = facts.deltas[r];
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          const int key = key0 + 8 * n + lane % 4 * 2 + e % 2;
          const float value = key <= last ? probability_of(p[n][e], b.scale_log2, log_sum) : 0.0f;
          slopes[n][e] = __fmul_rn(value, __fsub_rn(slopes[n][e], delta));
        }
      }
    }
    add_weighted<kWidth, kBlockKeys>(dq, slopes, keys);
  }
  store_sums<kWidth>(dq, b.scale, b.K, b.add_dq, [&](int line) {
    const int64_t at = index_of(16 * warp + line);
    return at >= 0 ? b.dq + at * b.K : nullptr;
  });
}

template <class Kernel>
void allow_bytes(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "cudaFuncSetAttribute");
}

template <int kWidth>
void launch_mma(const TensorBackwardJob& b, std::span<const TileOfKeys> keys,
                std::span<const TileOfQueries> queries, cudaStream_t stream) {
  if (!keys.empty()) {
    allow_bytes(key_gradients<kWidth>, kKeyGradientBytes<kWidth>);
    key_gradients<kWidth>
        <<<static_cast<unsigned>(keys.size()), kThreads, kKeyGradientBytes<kWidth>, stream>>>(b, keys.data());
    check_launch("attention dk dv");
  }
  if (!queries.empty()) {
    allow_bytes(query_gradients<kWidth>, kQueryGradientBytes<kWidth>);
    query_gradients<kWidth>
        <<<static_cast<unsigned>(queries.size()), kThreads, kQueryGradientBytes<kWidth>, stream>>>(
            b, queries.data());
    check_launch("attention dq");
  }
}

void launch_rows(const TensorBackwardJob& b, cudaStream_t stream) {
  const auto aligned = [](const void* data, uintptr_t bytes) {
    return reinterpret_cast<uintptr_t>(data) % bytes == 0;
  };
  const bool vectors = b.V % kGroup == 0 && aligned(b.d_out, 16) && aligned(b.out, 16) && aligned(b.d_o, 8);
  const auto blocks = static_cast<unsigned>(ceil_div(b.rows, int64_t{kThreads / kRowLanes}));
  (vectors ? prepare_rows<true> : prepare_rows<false>)<<<blocks, kThreads, 0, stream>>>(b);
  check_launch("attention backward rows");
}

TensorBackwardJob backward_job(Context& ctx, const AttentionBackward& call) {
  TensorBackwardJob b{};
  b.H = static_cast<int>(call.q.dim(1)), b.G = static_cast<int>(call.k.dim(1));
  b.K = static_cast<int>(call.k.dim(2)), b.V = static_cast<int>(call.v.dim(2));
  b.heads = b.H / b.G;
  b.by_heads = Quotient::by(b.heads);
  b.rows = call.q.dim(0) * b.H;
  b.scale = call.scale, b.scale_log2 = call.scale * kLog2E;
  b.q = static_cast<const uint16_t*>(call.q.data), b.k = static_cast<const uint16_t*>(call.k.data);
  b.v = static_cast<const uint16_t*>(call.v.data);
  b.out = call.saved.out.f32(), b.d_out = call.d_out.f32();
  b.maxima = call.saved.maxima, b.sums = call.saved.sums;
  b.d_o = ctx.arena.array<uint16_t>(b.rows * b.V);
  b.log_sums = ctx.arena.array<float>(b.rows);
  b.deltas = ctx.arena.array<float>(b.rows);
  const auto place = [](const GradSlot& slot, float** at, bool* add) {
    if (slot) *at = slot.grad.f32(), *add = slot.accumulate;
  };
  place(call.dq, &b.dq, &b.add_dq);
  place(call.dk, &b.dk, &b.add_dk);
  place(call.dv, &b.dv, &b.add_dv);
  b.k_vectors = rows_have_vectors(b.q, b.K) && rows_have_vectors(b.k, b.K);
  b.v_vectors = rows_have_vectors(b.v, b.V) && rows_have_vectors(b.d_o, b.V);
  return b;
}

}  // namespace

void tensor_attention_backward(Context& ctx, const AttentionBackward& call) {
  const OpScope scope(ctx);
  const TensorBackwardJob b = backward_job(ctx, call);
  const bool by_wgmma = wgmma_differentiates(b);
  const WholeRows rows{call.S, call.offsets, call.parents, b.H, b.G, b.K, b.V};
  const int64_t at_once = int64_t{2} * multiprocessors();
  const std::span<const TileOfKeys> key_list = key_tiles(ctx.host(), rows, at_once);
  const std::span<const TileOfQueries> query_list =
      query_tiles(ctx.host(), rows, by_wgmma ? wgmma_query_rows(b) : kTileRows, at_once);
  Upload upload(ctx);
  const int keys_at = upload.add(key_list), queries_at = upload.add(query_list);
  upload.send();
  if (ctx.measuring || b.rows == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  launch_rows(b, stream);
  const bool of_keys = b.dk != nullptr || b.dv != nullptr, of_queries = b.dq != nullptr;
  const std::span keys(upload.at<TileOfKeys>(keys_at), of_keys ? key_list.size() : 0);
  const std::span queries(upload.at<TileOfQueries>(queries_at), of_queries ? query_list.size() : 0);
  if (by_wgmma) {
    if (of_keys) wgmma_key_gradients(b, keys.data(), std::ssize(keys), stream);
    if (of_queries) wgmma_query_gradients(b, queries.data(), std::ssize(queries), stream);
    return;
  }
  with_width(std::max(b.K, b.V),
             [&](auto width) { launch_mma<decltype(width)::value>(b, keys, queries, stream); });
}

}  // namespace r1::cuda
