// ops/attention/tensor_attention_backward_cuda.cu: the backward of tensor_attention_cuda.h.
//
//   prepare_rows     rounds d_o to bf16, and delta = sum over v of o d_o, a warp per row of [T, H]
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
#include "ops/attention/tensor_attention_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 128, kTileRows = 64, kPassing = 32;  // query rows of a stage

// Keys [key0, key0 + keys) of a row of the batch, which lie from `token` on. Its query rows count from token
// `query_token`; those from `begin` to `end` may see the keys.
struct KeyTile {
  int32_t token, keys, key0, g;
  int32_t query_token, begin, end;
};
// Query rows [row, row + rows) of a row of the batch that begins at `first`, behind a prefix.
struct DqTile {
  int32_t first, row, rows, g;
  int32_t prefix_first, prefix;
};

// The numbers from which a query row's probabilities follow.
struct RowFacts {
  float mc, inverse, delta;
  int32_t position;
};

struct TensorBackwardJob {
  int64_t rows;  // T H
  int H, G, K, V, heads;
  Quotient by_heads;
  float scale, scale_log2;
  const uint16_t *q, *k, *v;
  const float *out, *d_out, *maxima, *sums;
  const int32_t* positions;  // [T]
  uint16_t* d_o;             // [T, H, V]
  RowFacts* facts;           // [T, H]
  bool k_vectors, v_vectors;
  float *dq, *dk, *dv;  // null: not wanted
  bool add_dq, add_dk, add_dv;
};

__global__ void __launch_bounds__(kThreads) prepare_rows(TensorBackwardJob b) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (at >= b.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float delta = 0.0f;
  for (int v = lane; v < b.V; v += 32) {
    const uint16_t bits = bf16_bits(b.d_out[at * b.V + v]);
    b.d_o[at * b.V + v] = bits;
    delta = __fmaf_rn(b.out[at * b.V + v], to_f32(bits), delta);
  }
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) delta = __fadd_rn(delta, __shfl_xor_sync(~0u, delta, apart));
  if (lane == 0)
    b.facts[at] = {__fmul_rn(reference_of(b.maxima[at]), b.scale_log2), __fdiv_rn(1.0f, b.sums[at]), delta,
                   b.positions[at / b.H]};
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

// Copies the facts of kCount rows; those of rows that are not there become zeros, of which every probability is 0.
template <int kCount, class Row>
__device__ __forceinline__ void copy_facts(RowFacts* to, const RowFacts* from, const Row& row) {
  static_assert(sizeof(RowFacts) == 16);
  const auto i = static_cast<int>(threadIdx.x);
  if (i >= kCount) return;
  const int64_t at = row(i);
  copy_async(static_cast<uint32_t>(__cvta_generic_to_shared(to + i)), from + (at < 0 ? 0 : at),
             at < 0 ? 0 : 16);
}

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
        const float sum = __fadd_rn(__fmul_rn(sums[n][2 * h + e], scale), 0.0f);
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
__global__ void __launch_bounds__(kThreads, 2) key_gradients(TensorBackwardJob b, const KeyTile* tiles) {
  extern __shared__ __align__(128) uint16_t gradient_memory[];
  __shared__ RowFacts facts[2][kPassing];
  uint16_t* const keys = gradient_memory;
  const uint16_t* const values = keys + kTileRows * kWidth;
  uint16_t* const stages = keys + 2 * kTileRows * kWidth;  // queries, d_o; two of each
  const KeyTile t = tiles[blockIdx.x];
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
    copy_facts<kPassing>(facts[stage], b.facts, index_of);
  };
  copy(t.begin, 0);
  copy_commit();
  float dk[kWidth / 8][4], dv[kWidth / 8][4];
  clear(dk);
  clear(dv);
  const int key = t.key0 + 16 * warp + lane / 4;
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
        const RowFacts row = facts[stage][8 * n + lane % 4 * 2 + e];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& value = p[n][2 * h + e];
          value = key + 8 * h <= row.position ? __fmul_rn(weight_of(value, b.scale_log2, row.mc), row.inverse)
                                              : 0.0f;
          float& slope = slopes[n][2 * h + e];
          slope = __fmul_rn(value, __fsub_rn(slope, row.delta));
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
__global__ void __launch_bounds__(kThreads, 2) query_gradients(TensorBackwardJob b, const DqTile* tiles) {
  extern __shared__ __align__(128) uint16_t gradient_memory[];
  __shared__ RowFacts facts[kTileRows];
  uint16_t* const queries = gradient_memory;
  const uint16_t* const d_o = queries + kTileRows * kWidth;
  uint16_t* const stages = queries + 2 * kTileRows * kWidth;  // keys, values; two of each
  const DqTile t = tiles[gridDim.x - 1 - blockIdx.x];         // rows that see the most keys begin first
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const auto index_of = [&](int i) {
    const int row = t.row + i, token = b.by_heads.of(row);
    return i < t.rows ? static_cast<int64_t>(t.first + token) * b.H + t.g * b.heads + row - token * b.heads
                      : int64_t{-1};
  };
  copy_both<kWidth, kTileRows>(queries, b.q, b.K, b.k_vectors, b.d_o, b.V, b.v_vectors, index_of);
  copy_facts<kTileRows>(facts, b.facts, index_of);
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
      const RowFacts row = facts[16 * warp + lane / 4 + 8 * h];
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          const int key = key0 + 8 * n + lane % 4 * 2 + e % 2;
          const float value =
              key <= row.position ? __fmul_rn(weight_of(p[n][e], b.scale_log2, row.mc), row.inverse) : 0.0f;
          slopes[n][e] = __fmul_rn(value, __fsub_rn(slopes[n][e], row.delta));
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

// The batch's lists, made on the host.
struct TensorBackwardLists {
  std::span<int32_t> positions;
  std::span<KeyTile> keys;
  std::span<DqTile> queries;
};

TensorBackwardLists make_lists(Context& ctx, const AttentionBackward& call) {
  const int64_t T = call.q.dim(0), G = call.k.dim(1), heads = call.q.dim(1) / G;
  auto* positions = ctx.host().array<int32_t>(T);
  auto* keys = ctx.host().array<KeyTile>((T / kTileRows + 2 * call.S) * G);
  auto* queries = ctx.host().array<DqTile>((T * heads / kTileRows + call.S) * G);
  size_t key_count = 0, query_count = 0;
  for (int64_t s = 0; s < call.S; ++s) {
    const int32_t first = call.offsets[s], end = call.offsets[s + 1];
    const int32_t parent = call.parents == nullptr ? -1 : call.parents[s];
    const int32_t prefix_first = parent < 0 ? 0 : call.offsets[parent];
    const int32_t prefix = parent < 0 ? 0 : call.offsets[parent + 1] - prefix_first;
    int32_t family_end = end;
    for (int64_t next = s + 1; next < call.S && call.parents != nullptr && call.parents[next] == s; ++next)
      family_end = call.offsets[next + 1];
    for (int32_t t = first; t < end; ++t) positions[t] = prefix + t - first;
    const auto each = static_cast<int32_t>(heads);
    for (int32_t g = 0; g < G; ++g) {
      const int32_t rows = (end - first) * each;
      for (int32_t row = 0; row < rows; row += kTileRows)
        queries[query_count++] = {first, row, std::min(kTileRows, rows - row), g, prefix_first, prefix};
    }
    for (int32_t key = prefix, next = 0; key < prefix + end - first; key = next) {
      next = std::min((key / kTileRows + 1) * kTileRows, prefix + end - first);
      for (int32_t g = 0; g < G; ++g)
        keys[key_count++] = {first + key - prefix,       next - key, key, g, first, (key - prefix) * each,
                             (family_end - first) * each};
    }
  }
  // The longest first: they would end last.
  std::stable_sort(keys, keys + key_count,
                   [](const KeyTile& x, const KeyTile& y) { return x.end - x.begin > y.end - y.begin; });
  return {{positions, static_cast<size_t>(T)}, {keys, key_count}, {queries, query_count}};
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
void launch_backward(const TensorBackwardJob& b, const KeyTile* keys, size_t key_count, const DqTile* queries,
                     size_t query_count, cudaStream_t stream) {
  prepare_rows<<<static_cast<unsigned>(ceil_div(b.rows, int64_t{kThreads / 32})), kThreads, 0, stream>>>(b);
  check_launch("attention backward rows");
  if (b.dk != nullptr || b.dv != nullptr) {
    allow_bytes(key_gradients<kWidth>, kKeyGradientBytes<kWidth>);
    key_gradients<kWidth>
        <<<static_cast<unsigned>(key_count), kThreads, kKeyGradientBytes<kWidth>, stream>>>(b, keys);
    check_launch("attention dk dv");
  }
  if (b.dq != nullptr) {
    allow_bytes(query_gradients<kWidth>, kQueryGradientBytes<kWidth>);
    query_gradients<kWidth>
        <<<static_cast<unsigned>(query_count), kThreads, kQueryGradientBytes<kWidth>, stream>>>(b, queries);
    check_launch("attention dq");
  }
}

}  // namespace

void tensor_attention_backward(Context& ctx, const AttentionBackward& call) {
  const OpScope scope(ctx);
  const int64_t T = call.q.dim(0);
  TensorBackwardJob b{};
  b.H = static_cast<int>(call.q.dim(1)), b.G = static_cast<int>(call.k.dim(1));
  b.K = static_cast<int>(call.k.dim(2)), b.V = static_cast<int>(call.v.dim(2));
  b.heads = b.H / b.G;
  b.by_heads = Quotient::by(b.heads);
  b.rows = T * b.H;
  b.scale = call.scale, b.scale_log2 = call.scale * kLog2E;
  b.q = static_cast<const uint16_t*>(call.q.data), b.k = static_cast<const uint16_t*>(call.k.data);
  b.v = static_cast<const uint16_t*>(call.v.data);
  b.out = call.saved.out.f32(), b.d_out = call.d_out.f32();
  b.maxima = call.saved.maxima, b.sums = call.saved.sums;
  const TensorBackwardLists lists = make_lists(ctx, call);
  Upload upload(ctx);
  const int positions = upload.add(std::span<const int32_t>(lists.positions));
  const int keys = upload.add(std::span<const KeyTile>(lists.keys));
  const int queries = upload.add(std::span<const DqTile>(lists.queries));
  upload.send();
  b.positions = upload.at<int32_t>(positions);
  b.d_o = ctx.arena.array<uint16_t>(b.rows * b.V);
  b.facts = ctx.arena.array<RowFacts>(b.rows);
  const auto place = [](const GradSlot& slot, float** at, bool* add) {
    if (slot) *at = slot.grad.f32(), *add = slot.accumulate;
  };
  place(call.dq, &b.dq, &b.add_dq);
  place(call.dk, &b.dk, &b.add_dk);
  place(call.dv, &b.dv, &b.add_dv);
  b.k_vectors = rows_have_vectors(b.q, b.K) && rows_have_vectors(b.k, b.K);
  b.v_vectors = rows_have_vectors(b.v, b.V) && rows_have_vectors(b.d_o, b.V);
  if (ctx.measuring || T == 0) return;
  with_width(std::max(b.K, b.V), [&](auto width) {
    launch_backward<decltype(width)::value>(b, upload.at<KeyTile>(keys), lists.keys.size(),
                                            upload.at<DqTile>(queries), lists.queries.size(),
                                            static_cast<cudaStream_t>(ctx.stream));
  });
}

}  // namespace r1::cuda
