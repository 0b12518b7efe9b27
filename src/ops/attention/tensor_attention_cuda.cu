// ops/attention/tensor_attention_cuda.cu: the forward of tensor_attention_cuda.h.
//
// A warp has 16 query rows of one (row of the batch, group): row r is head r % (H / G) of token r / (H / G). A block
// of four warps shares blocks of keys and values, which cp.async copies one ahead; it walks all parts of its rows in
// order. Few rows (decoding) run in blocks of one warp; if those leave multiprocessors idle, each part has a block
// of its own, and merge_parts merges them in the same order.
#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "base/integers.h"
#include "ops/attention/tensor_attention_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr float kInfinity = __builtin_huge_valf();

struct TensorForwardJob {
  int H, G, K, V, heads;  // heads: per group
  Quotient by_heads;
  float scale_log2;  // c
  const uint16_t* q;
  uint16_t* out;
  float *unrounded, *maxima, *sums;  // may be null
  const uint16_t* pages;
  int64_t page_elements, values_at;
  bool q_vectors, value_vectors;
  TensorRows rows;
  int64_t tiles_each;  // per row of the batch and group
  // Parts that run apart, per row of [T, H]: S [parts, V], then M and L [parts, 2]. Null: none.
  float *part_sums, *part_softmax;
  int64_t parts;
};

// A tile of query rows.
struct QueryTile {
  int64_t s, g;
  int64_t token0;  // of the batch's row
  int row, rows;   // of (row of the batch, group)
  int position0;   // of token0
  int keys;        // that its last row sees
};

__device__ __forceinline__ bool tile_of(const TensorForwardJob& f, int64_t index, int height, QueryTile& t) {
  // The last tiles of rows, which see the most keys, begin first. A token's position is -1 if a captured graph has
  // more rows than the batch: it sees no key.
  t.s = index / f.G % f.rows.S;
  t.g = index % f.G;
  const int64_t first = (f.tiles_each - 1 - index / (f.G * f.rows.S)) * height;
  t.token0 = f.rows.offsets[t.s];
  const int64_t all = (f.rows.offsets[t.s + 1] - t.token0) * f.heads;
  if (first >= all) return false;
  t.row = static_cast<int>(first);
  t.rows = static_cast<int>(min(all - first, static_cast<int64_t>(height)));
  t.position0 = f.rows.positions[t.token0];
  t.keys = t.position0 + f.by_heads.of(t.row + t.rows - 1) + 1;
  return true;
}

// Pages of a row of the batch. Slots below `split` of page `split_page` lie in `tail`.
struct PagesOfRow {
  const uint16_t* base;
  const int32_t* table;
  const uint16_t* tail;
  int64_t elements;
  int split_page, split;
  __device__ __forceinline__ PagesOfRow(const TensorForwardJob& f, int64_t s)
      : base(f.pages),
        table(f.rows.table + s * f.rows.max_pages),
        tail(nullptr),
        elements(f.page_elements),
        split_page(-1),
        split(0) {
    if (f.rows.tails == nullptr || f.rows.tails[s] < 0) return;
    tail = f.pages + f.rows.tails[s] * f.page_elements;
    split_page = static_cast<int>(f.rows.prefixes[s] / kKeyTile);
    split = static_cast<int>(f.rows.prefixes[s] % kKeyTile);
  }
  __device__ __forceinline__ const uint16_t* page(int number) const {
    return base + table[number] * elements;
  }
};

constexpr int kBlockPages = kBlockKeys / static_cast<int>(kKeyTile);

template <int kWarps, int kWidth>
struct ForwardTile {
  static constexpr int kThreads = 32 * kWarps, kRows = 16 * kWarps;
  static constexpr int kQueries = kRows * kWidth, kKeys = kWidth * kBlockKeys;  // elements; values alike
  static constexpr int kBytes = 2 * (kQueries + 4 * kKeys);
  using Q = Lines<kWidth>;
  using Keys = Lines<kBlockKeys>;  // lines are k
  using Values = Lines<kWidth>;    // lines are keys

  // Copies a block's keys, of which dimension d is a line, and its values. Pages whose every slot is in use and lies in
  // one place are copied by the shorter code.
  static __device__ __forceinline__ void copy(uint16_t* keys_to, uint16_t* values_to,
                                              const TensorForwardJob& f, const PagesOfRow& pages, int64_t g,
                                              int block, int keys, const int (&numbers)[kBlockPages]) {
    const bool split = pages.split_page >= 0 && pages.split_page / kBlockPages == block;
    if ((block + 1) * kBlockKeys > keys || split || !f.value_vectors) {
      copy_keys(keys_to, f, pages, g, block, keys);
      copy_values(values_to, f, pages, g, block, keys);
      return;
    }
    constexpr int kKeyLines = kThreads / 4, kValueLines = kThreads / Values::kVectors;
    const int thread = static_cast<int>(threadIdx.x);
    const int line = thread / 4, vector = thread % 4, slot = thread / Values::kVectors,
              column = thread % Values::kVectors;
#pragma unroll 1
    for (int half = 0; half < kBlockPages; ++half) {
      const uint16_t* const page = pages.base + (half == 0 ? numbers[0] : numbers[1]) * pages.elements;
      const uint16_t* from = page + g * f.K * kKeyTile + line * kKeyTile + vector * kVector;
#pragma unroll 2
      for (int i = 0; i < kWidth / kKeyLines; ++i) {
        if (line + i * kKeyLines < f.K)
          copy_vector(keys_to + Keys::place(line + i * kKeyLines, half * 4 + vector),
                      from + i * kKeyLines * kKeyTile, 16, true);
      }
      from = page + f.values_at + (g * kKeyTile + slot) * f.V + column * kVector;
      const int64_t apart = kValueLines * f.V;
      uint16_t* const to = values_to + half * static_cast<int>(kKeyTile) * kWidth;
      if (column * kVector < f.V) {
#pragma unroll 2
        for (int i = 0; i < static_cast<int>(kKeyTile) / kValueLines; ++i, from += apart)
          copy_vector(to + Values::place(slot + i * kValueLines, column), from, 16, true);
      }
    }
  }
  // Dimension d of 64 keys is a line.
  static __device__ __noinline__ void copy_keys(uint16_t* to, const TensorForwardJob& f,
                                                const PagesOfRow& pages, int64_t g, int block, int keys) {
    constexpr int kPerPage = static_cast<int>(kKeyTile) / kVector;
    const int first = block * kBlockKeys;
    for (int half = 0; half < kBlockPages; ++half) {
      const int number = block * kBlockPages + half;
      if (first + half * static_cast<int>(kKeyTile) >= keys) break;
      const int64_t group = g * f.K * kKeyTile;
      const uint16_t* const own = pages.page(number) + group;
      const int split = number == pages.split_page ? pages.split : 0;
      for (int i = static_cast<int>(threadIdx.x); i < f.K * kPerPage; i += kThreads) {
        const int line = i / kPerPage, vector = i % kPerPage;
        uint16_t* const at = to + Keys::place(line, half * kPerPage + vector);
        const int64_t offset = line * kKeyTile + vector * kVector;
        if (vector * kVector >= split) {
          copy_vector(at, own + offset, 16, true);
        } else if ((vector + 1) * kVector <= split) {
          copy_vector(at, pages.tail + group + offset, 16, true);
        } else {
          for (int e = 0; e < kVector; ++e)
            at[e] = (vector * kVector + e < split ? pages.tail + group : own)[offset + e];
        }
      }
    }
  }
  // Values past `keys` become zeros.
  static __device__ __noinline__ void copy_values(uint16_t* to, const TensorForwardJob& f,
                                                  const PagesOfRow& pages, int64_t g, int block, int keys) {
    for (int half = 0; half < kBlockPages; ++half) {
      const int number = block * kBlockPages + half;
      const int left = keys - number * static_cast<int>(kKeyTile);
      const int64_t group = f.values_at + g * kKeyTile * f.V;
      const uint16_t* const own = left > 0 ? pages.page(number) + group : nullptr;
      const int split = number == pages.split_page ? pages.split : 0;
      for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(kKeyTile) * Values::kVectors;
           i += kThreads) {
        const int slot = i / Values::kVectors, vector = i % Values::kVectors;
        if (vector * kVector >= f.V) continue;
        const uint16_t* const from = slot >= left   ? nullptr
                                     : slot < split ? pages.tail + group + slot * f.V
                                                    : own + slot * f.V;
        Values::copy_vector_of(to, half * static_cast<int>(kKeyTile) + slot, vector, from, f.pages, f.V,
                               f.value_vectors);
      }
    }
  }
  static __device__ __forceinline__ void clear(uint16_t* memory, int elements) {
    for (int i = static_cast<int>(threadIdx.x); i < elements / kVector; i += kThreads)
      reinterpret_cast<uint4*>(memory)[i] = {0, 0, 0, 0};
  }
};

// A row's sums over the parts so far; two rows per thread (g and g + 8 of the warp's).
template <int kWidth>
struct Sums {
  float m[2], l[2], o[kWidth / 8][4];
};

template <int kWidth>
__device__ __forceinline__ void merge(Sums<kWidth>& all, const Sums<kWidth>& part, float c) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float most = fmaxf(all.m[h], part.m[h]), reference = reference_of(most);
    const float a = rescale_of(all.m[h], reference, c), b = rescale_of(part.m[h], reference, c);
    all.m[h] = most;
    all.l[h] = __fmaf_rn(part.l[h], b, __fmul_rn(all.l[h], a));
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
      for (int e = 2 * h; e < 2 * h + 2; ++e)
        all.o[n][e] = __fmaf_rn(part.o[n][e], b, __fmul_rn(all.o[n][e], a));
    }
  }
}

// Rows at position -1, which fill up a bucket of a captured graph.
__device__ __forceinline__ void clear_rows(const TensorForwardJob& f, const QueryTile& t) {
  for (int r = 0; r < t.rows; ++r) {
    const int64_t at = (t.token0 + (t.row + r) / f.heads) * f.H + t.g * f.heads + (t.row + r) % f.heads;
    for (int v = static_cast<int>(threadIdx.x); v < f.V; v += static_cast<int>(blockDim.x))
      f.out[at * f.V + v] = 0;
  }
}

template <int kWarps, int kWidth>
__global__ void __launch_bounds__(32 * kWarps, kWarps == 1 ? 1 : 2) attend(TensorForwardJob f) {
  using Tile = ForwardTile<kWarps, kWidth>;
  extern __shared__ __align__(128) uint16_t attention_memory[];
  uint16_t* const queries = attention_memory;
  uint16_t* const stages = queries + Tile::kQueries;  // keys, values; two of each
  QueryTile t;
  if (!tile_of(f, blockIdx.x, Tile::kRows, t)) return;
  const bool apart = f.part_sums != nullptr;
  constexpr int kBlocksOfPart = kPartKeys / kBlockKeys;
  const int first_block = apart ? static_cast<int>(blockIdx.y) * kBlocksOfPart : 0;
  int end_block = (t.keys + kBlockKeys - 1) / kBlockKeys;
  if (apart) end_block = min(end_block, first_block + kBlocksOfPart);
  if (first_block >= end_block) {
    if (t.keys <= 0 && !apart) clear_rows(f, t);
    return;
  }
  const PagesOfRow pages(f, t.s);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;

  if (f.K < kWidth || f.V < kWidth) {
    Tile::clear(stages, 4 * Tile::kKeys);
    __syncthreads();
  }
  // The pages of the next block to be copied: the table is read a block ahead, so that nobody waits for it.
  int numbers[kBlockPages];
  const auto look_up = [&](int block) {
#pragma unroll
    for (int half = 0; half < kBlockPages; ++half)
      numbers[half] = (block + 1) * kBlockKeys <= t.keys ? pages.table[block * kBlockPages + half] : 0;
  };
  const auto copy = [&](int block) {
    uint16_t* const to = stages + block % 2 * 2 * Tile::kKeys;
    Tile::copy(to, to + Tile::kKeys, f, pages, t.g, block, t.keys, numbers);
    look_up(block + 1);
  };
  look_up(first_block);
  const auto index_of = [&](int r) {
    const int token = f.by_heads.of(t.row + r);
    return (t.token0 + token) * f.H + t.g * f.heads + t.row + r - token * f.heads;
  };
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows * (kWidth / kVector); i += Tile::kThreads) {
    const int r = i / (kWidth / kVector), vector = i % (kWidth / kVector);
    Tile::Q::copy_vector_of(queries, r, vector, r < t.rows ? f.q + index_of(r) * f.K : nullptr, f.q, f.K,
                            f.q_vectors);
  }
  copy(first_block);
  copy_commit();

  // This thread's rows, and the last key that they see.
  const int r0 = 16 * warp + lane / 4;
  int last[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) last[h] = t.position0 + f.by_heads.of(t.row + min(r0 + 8 * h, t.rows - 1));
  const int warp_first = t.position0 + f.by_heads.of(t.row + min(16 * warp, t.rows - 1));
  const int warp_last = t.position0 + f.by_heads.of(t.row + min(16 * warp + 15, t.rows - 1));
  const float c = f.scale_log2;
  Sums<kWidth> part, all;
  const auto begin_part = [&] {
#pragma unroll
    for (int h = 0; h < 2; ++h) part.m[h] = -kInfinity, part.l[h] = 0.0f;
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) part.o[n][e] = 0.0f;
    }
  };
  const auto end_part = [&] {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      part.l[h] = __fadd_rn(part.l[h], __shfl_xor_sync(~0u, part.l[h], 1));
      part.l[h] = __fadd_rn(part.l[h], __shfl_xor_sync(~0u, part.l[h], 2));
    }
  };
  begin_part();

  for (int block = first_block; block < end_block; ++block) {
    copy_wait<0>();
    __syncthreads();
    if (block + 1 < end_block) copy(block + 1);
    copy_commit();
    const int key0 = block * kBlockKeys;
    const uint16_t* const keys = stages + block % 2 * 2 * Tile::kKeys;
    const uint16_t* const values = keys + Tile::kKeys;
    if (key0 <= warp_last) {
      float s[kBlockKeys / 8][4];
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[n][e] = 0.0f;
      }
#pragma unroll
      for (int step = 0; step < kWidth / 16; ++step) {
        uint32_t a[4];
        Tile::Q::rows_as_a(a, queries, 16 * warp, step);
#pragma unroll
        for (int n = 0; n < kBlockKeys / 16; ++n) {
          uint32_t b[4];
          Tile::Keys::columns_as_b(b, keys, 16 * n, step);
          tensor_mma(s[2 * n], a, b);
          tensor_mma(s[2 * n + 1], a, b + 2);
        }
      }
      if (key0 + kBlockKeys - 1 > warp_first) {
#pragma unroll
        for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (key0 + 8 * n + lane % 4 * 2 + e % 2 > last[e / 2]) s[n][e] = -kInfinity;
        }
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float most = part.m[h];
#pragma unroll
        for (int n = 0; n < kBlockKeys / 8; ++n) most = fmaxf(most, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        const float reference = reference_of(most), yc = __fmul_rn(reference, c);
        const float a = rescale_of(part.m[h], reference, c);
        part.m[h] = most;
        float l = __fmul_rn(part.l[h], a);
#pragma unroll
        for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) {
            s[n][e] = weight_of(s[n][e], c, yc);
            l = __fadd_rn(l, s[n][e]);
          }
        }
        part.l[h] = l;
        // Times 1 changes nothing, and most blocks raise no maximum.
        if (__any_sync(~0u, a != 1.0f)) {
#pragma unroll
          for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; ++e) part.o[n][e] = __fmul_rn(part.o[n][e], a);
          }
        }
      }
#pragma unroll
      for (int step = 0; step < kBlockSteps; ++step) {
        const uint32_t a[4] = {pack_bf16(s[2 * step][0], s[2 * step][1]),
                               pack_bf16(s[2 * step][2], s[2 * step][3]),
                               pack_bf16(s[2 * step + 1][0], s[2 * step + 1][1]),
                               pack_bf16(s[2 * step + 1][2], s[2 * step + 1][3])};
#pragma unroll
        for (int n = 0; n < kWidth / 16; ++n) {
          uint32_t b[4];
          Tile::Values::columns_as_b(b, values, 16 * n, step);
          tensor_mma(part.o[2 * n], a, b);
          tensor_mma(part.o[2 * n + 1], a, b + 2);
        }
      }
    }
    if (!apart && (block + 1) % kBlocksOfPart == 0 && block + 1 < end_block) {
      end_part();
      if (block + 1 == kBlocksOfPart) {
        all = part;
      } else {
        merge(all, part, c);
      }
      begin_part();
    }
  }
  end_part();
  const int columns = lane % 4 * 2;
  if (apart) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = r0 + 8 * h;
      if (r >= t.rows || first_block * kBlockKeys > last[h]) continue;
      const int64_t at = index_of(r) * f.parts + blockIdx.y;
      if (lane % 4 == 0) f.part_softmax[2 * at] = part.m[h], f.part_softmax[2 * at + 1] = part.l[h];
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (8 * n + columns + e < f.V) f.part_sums[at * f.V + 8 * n + columns + e] = part.o[n][2 * h + e];
      }
    }
    return;
  }
  if (end_block > kBlocksOfPart) {
    merge(all, part, c);
  } else {
    all = part;
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = r0 + 8 * h;
    if (r >= t.rows) continue;
    const int64_t at = index_of(r);
    const float inverse = __fdiv_rn(1.0f, all.l[h]);
    if (lane % 4 == 0 && f.maxima != nullptr) f.maxima[at] = all.m[h], f.sums[at] = all.l[h];
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      const int v = 8 * n + columns;
      const float low = __fmaf_rn(all.o[n][2 * h], inverse, 0.0f),
                  high = __fmaf_rn(all.o[n][2 * h + 1], inverse, 0.0f);
      uint16_t* const to = f.out + at * f.V + v;
      if (f.value_vectors && v < f.V) {
        *reinterpret_cast<uint32_t*>(to) = pack_bf16(low, high);
        if (f.unrounded != nullptr) *reinterpret_cast<float2*>(f.unrounded + at * f.V + v) = {low, high};
        continue;
      }
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (v + e >= f.V) continue;
        to[e] = static_cast<uint16_t>(pack_bf16(e == 0 ? low : high, 0.0f));
        if (f.unrounded != nullptr) f.unrounded[at * f.V + v + e] = e == 0 ? low : high;
      }
    }
  }
}

// A warp per row of [T, H].
constexpr int kMergeThreads = 128;
template <int kWidth>
__global__ void __launch_bounds__(kMergeThreads) merge_parts(TensorForwardJob f) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * (kMergeThreads / 32) + threadIdx.x / 32;
  if (at >= f.rows.T * f.H) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int position = f.rows.positions[at / f.H], parts = position < 0 ? 0 : position / kPartKeys + 1;
  const float c = f.scale_log2;
  constexpr int kEach = kWidth / 32;
  float m = 0.0f, l = 1.0f, o[kEach] = {};
  for (int part = 0; part < parts; ++part) {
    const int64_t from = at * f.parts + part;
    const float part_m = f.part_softmax[2 * from], part_l = f.part_softmax[2 * from + 1];
    float a = 0.0f, b = 1.0f;
    if (part == 0) {
      m = part_m, l = part_l;
    } else {
      const float most = fmaxf(m, part_m), reference = reference_of(most);
      a = rescale_of(m, reference, c), b = rescale_of(part_m, reference, c);
      m = most;
      l = __fmaf_rn(part_l, b, __fmul_rn(l, a));
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int v = lane + 32 * i;
      const float sum = v < f.V ? f.part_sums[from * f.V + v] : 0.0f;
      o[i] = part == 0 ? sum : __fmaf_rn(sum, b, __fmul_rn(o[i], a));
    }
  }
  const float inverse = __fdiv_rn(1.0f, l);
  if (lane == 0 && f.maxima != nullptr) f.maxima[at] = m, f.sums[at] = l;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int v = lane + 32 * i;
    if (v >= f.V) continue;
    const float value = __fmaf_rn(o[i], inverse, 0.0f);
    f.out[at * f.V + v] = static_cast<uint16_t>(pack_bf16(value, 0.0f));
    if (f.unrounded != nullptr) f.unrounded[at * f.V + v] = value;
  }
}

template <int kWarps, int kWidth>
void launch_attend(TensorForwardJob f, cudaStream_t stream) {
  using Tile = ForwardTile<kWarps, kWidth>;
  static_assert(Tile::kBytes <= 99 * 1024, "sm_89 has no more per block");
  f.tiles_each = ceil_div(f.rows.most_tokens * f.heads, int64_t{Tile::kRows});
  const auto kernel = attend<kWarps, kWidth>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kBytes),
        "cudaFuncSetAttribute");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "cudaFuncSetAttribute");
  const dim3 grid(static_cast<unsigned>(f.tiles_each * f.rows.S * f.G),
                  static_cast<unsigned>(f.part_sums != nullptr ? f.parts : 1));
  kernel<<<grid, Tile::kThreads, Tile::kBytes, stream>>>(f);
  check_launch("attention");
}

TensorForwardJob forward_job(const AttentionForward& call, const TensorRows& rows) {
  const KvPages& pages = call.pages;
  TensorForwardJob f{};
  f.H = static_cast<int>(call.q.dim(1)), f.G = static_cast<int>(pages.G);
  f.K = static_cast<int>(pages.K), f.V = static_cast<int>(pages.V);
  f.heads = f.H / f.G;
  f.by_heads = Quotient::by(f.heads);
  f.scale_log2 = call.scale * kLog2E;
  f.q = static_cast<const uint16_t*>(call.q.data);
  f.out = static_cast<uint16_t*>(call.out.data);
  f.maxima = call.saved.maxima, f.sums = call.saved.sums;
  if (call.saved.out) f.unrounded = call.saved.out.f32();
  f.pages = static_cast<const uint16_t*>(pages.data);
  f.page_elements = pages.page_elements();
  f.values_at = pages.G * pages.K * kKeyTile;
  f.q_vectors = rows_have_vectors(f.q, f.K);
  f.value_vectors = rows_have_vectors(f.pages, f.V) && reinterpret_cast<uintptr_t>(f.out) % 4 == 0;
  f.rows = rows;
  return f;
}

}  // namespace

void tensor_attention(Context& ctx, const AttentionForward& call, const TensorRows& rows) {
  constexpr int64_t kMostPartFloats = int64_t{1} << 24;  // 64 MiB of scratch
  constexpr int64_t kBusy = 1024;                        // tiles that fill a GPU without parts of their own
  TensorForwardJob f = forward_job(call, rows);
  const bool few = rows.most_tokens * f.heads <= kFewRows;
  f.parts = ceil_div(rows.max_pages * kKeyTile, int64_t{kPartKeys});
  const int64_t at_once = rows.S * f.G * ceil_div(rows.most_tokens * f.heads, int64_t{16});
  const int64_t part_rows = rows.T * f.H * f.parts;
  const OpScope scope(ctx);
  if (few && f.parts > 1 && at_once < kBusy && part_rows * (f.V + 2) <= kMostPartFloats) {
    f.part_sums = ctx.arena.array<float>(part_rows * f.V);
    f.part_softmax = ctx.arena.array<float>(part_rows * 2);
  }
  if (ctx.measuring || at_once == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  with_width(std::max(f.K, f.V), [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    if (!few) return launch_attend<4, kWidth>(f, stream);
    launch_attend<1, kWidth>(f, stream);
    if (f.part_sums == nullptr) return;
    const auto blocks = static_cast<unsigned>(ceil_div(rows.T * f.H, int64_t{kMergeThreads / 32}));
    merge_parts<kWidth><<<blocks, kMergeThreads, 0, stream>>>(f);
    check_launch("attention parts");
  });
}

}  // namespace r1::cuda
