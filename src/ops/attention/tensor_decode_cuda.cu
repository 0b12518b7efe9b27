// ops/attention/tensor_decode_cuda.cu: a decoding step of cuda-bf16 as the memory's speed allows.
//
// A block has a row, up to eight heads of a group, and a part of 256 keys:
//
//   heads     half-warps norm and turn the queries, and the new key if its slot is in the part
//   scores    a warp has every fourth page: keys are the rows of the products, heads their columns
//   softmax   every warp has all scores: lane 4 h + t has keys 2t and 2t + 1 (mod 8) of head h
//   values    a warp has a quarter of the columns, which are the rows of the products
//
// Keys and values go from memory to registers, and become operands there: a lane loads four neighbouring keys of a
// line, or columns of a key, and a byte permutation pairs them along k. What does not depend on the kernel ahead, i.e.
// all keys and values but the new ones, is loaded before that kernel has ended.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/attention/heads_row_cuda.cuh"
#include "ops/attention/tensor_attention_cuda.cuh"
#include "ops/attention/tensor_decode_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kPageKeys = static_cast<int>(kKeyTile), kPartPages = kPartKeys / kPageKeys,
              kPartBlocks = kPartKeys / kBlockKeys;
constexpr int kColumns = 8;                // heads of a block: columns of an instruction
constexpr int kScoreLine = kPartKeys + 8;  // what a warp reads at once lies in different banks
constexpr float kMinusInfinity = -__builtin_huge_valf();

struct DecodeJob {
  int H, G, K, V;
  int heads, chunks;  // per group: heads, and blocks that share them
  float scale_log2;   // c
  HeadTurn turn;
  float eps;
  const float *q_norm, *k_norm;  // null: no norms
  const uint16_t *q, *k, *v;
  uint16_t *out, *pages;
  int64_t page_elements, values_at;
  DecodeLists lists;
  int64_t first_row;
  // Rows of more than one part, per [row, H, part]: sums [V], then maximum and sum of weights. Null: there are none.
  float *part_sums, *part_softmax;
  int64_t parts;
};

template <int kWidth>
struct DecodeShape {
  static constexpr int kWarps = kWidth == 32 ? 2 : 4, kThreads = 32 * kWarps;
  static constexpr int kSteps = kWidth / 16;    // of keys' lines
  static constexpr int kOwn = kWidth / kWarps;  // columns of a warp
  static constexpr int kEach = kOwn / 8;        // columns of a lane
  static constexpr int kWords = kEach / 2, kTiles = kOwn / 16;
  static constexpr int kQueryLine = kWidth + 8;
  using Keys = uint32_t[kSteps][4][2];  // of a page; lines 2t, 2t + 1, 2t + 8, 2t + 9 of each step
  using Values =
      uint32_t[kBlockSteps][4][kWords];  // of a block; keys 2t, 2t + 1, 2t + 8, 2t + 9 of each step
};

// Neighbours that no other warp reads.
template <int kWords>
__device__ __forceinline__ void load_words(uint32_t (&to)[kWords], const uint16_t* from) {
  if constexpr (kWords == 2) {
    asm volatile("ld.global.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "l"(from));
  } else {
    asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];" : "=r"(to[0]) : "l"(from));
  }
}

template <int kWords>
__device__ __forceinline__ void load_words_or_zeros(uint32_t (&to)[kWords], const uint16_t* from,
                                                    bool there) {
#pragma unroll
  for (int w = 0; w < kWords; ++w) to[w] = 0;
  if (there) load_words(to, from);
}

// A of an instruction whose rows g and g + 8 are the two elements of a word, from k 2t, 2t + 1, 2t + 8 and 2t + 9.
template <int kWords>
__device__ __forceinline__ void rows_of_word(uint32_t (&a)[4], const uint32_t (&lines)[4][kWords], int word) {
  a[0] = __byte_perm(lines[0][word], lines[1][word], 0x5410);
  a[1] = __byte_perm(lines[0][word], lines[1][word], 0x7632);
  a[2] = __byte_perm(lines[2][word], lines[3][word], 0x5410);
  a[3] = __byte_perm(lines[2][word], lines[3][word], 0x7632);
}

// Element `at` of two words becomes `value`.
__device__ __forceinline__ void replace(uint32_t (&words)[2], int at, uint32_t value) {
  const uint32_t mask = at % 2 == 0 ? 0x0000FFFFu : 0xFFFF0000u, bits = (value | value << 16) & mask;
  if (at < 2) {
    words[0] = (words[0] & ~mask) | bits;
  } else {
    words[1] = (words[1] & ~mask) | bits;
  }
}

// What a block works on.
struct DecodeBlock {
  int64_t s, g;
  int chunk, heads;       // the first head of the block is chunk * kColumns of the group
  int position, first;    // the first key of the part
  int keys, old_keys;     // that the row sees in the part, and those without the new one
  bool owner;             // the new key is in the part
  int split_page, split;  // slots below `split` of page `split_page` of the part lie in `tail`
  const uint16_t* tail;
  __device__ __forceinline__ int64_t head(int64_t H, int heads_of_group, int i) const {
    return s * H + g * heads_of_group + chunk * kColumns + i;
  }
};

// Returns false if the row sees no key of the part.
__device__ __forceinline__ bool block_of(const DecodeJob& f, DecodeBlock& b) {
  const int each = f.G * f.chunks, index = static_cast<int>(blockIdx.x);
  b.s = f.first_row + index / each;
  b.g = index % each / f.chunks;
  b.chunk = index % f.chunks;
  b.heads = min(kColumns, f.heads - b.chunk * kColumns);
  b.position = f.lists.positions[b.s];
  b.first = static_cast<int>(blockIdx.y) * kPartKeys;
  if (b.position < b.first) return false;
  b.keys = min(kPartKeys, b.position + 1 - b.first);
  b.owner = b.position < b.first + kPartKeys;
  b.old_keys = b.owner ? b.keys - 1 : b.keys;
  b.split_page = -1, b.split = 0, b.tail = nullptr;
  if (f.lists.tails != nullptr && f.lists.tails[b.s] >= 0) {
    const auto prefix = static_cast<int>(f.lists.prefixes[b.s]);
    b.split_page = prefix / kPageKeys - b.first / kPageKeys;
    b.split = prefix % kPageKeys;
    b.tail = f.pages + f.lists.tails[b.s] * f.page_elements;
  }
  return true;
}

// Loads a page's keys of this lane: 4g to 4g + 3.
template <int kWidth>
__device__ __forceinline__ void load_keys(typename DecodeShape<kWidth>::Keys& to, const DecodeJob& f,
                                          const DecodeBlock& b, int page, int number) {
  const int lane = static_cast<int>(threadIdx.x) % 32, key = lane / 4 * 4;
  const int64_t at = (b.g * f.K + lane % 4 * 2) * kPageKeys + key;
  const uint16_t* const own = f.pages + number * f.page_elements + at;
  const int split = page == b.split_page ? b.split : 0;
  const uint16_t* const from = key < split ? b.tail + at : own;
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    if (16 * step >= f.K) continue;
#pragma unroll
    for (int e = 0; e < 4; ++e) load_words(to[step][e], from + (16 * step + e % 2 + e / 2 * 8) * kPageKeys);
  }
  if (split == 0 || key >= split || key + 4 <= split) return;
    // The prefix ends among this lane's keys.
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    if (16 * step >= f.K) continue;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      uint32_t behind[2];
      load_words(behind, own + (16 * step + e % 2 + e / 2 * 8) * kPageKeys);
      const uint32_t low = split - key >= 2 ? ~0u : 0x0000FFFFu, high = split - key == 3 ? 0x0000FFFFu : 0u;
      to[step][e][0] = (to[step][e][0] & low) | (behind[0] & ~low);
      to[step][e][1] = (to[step][e][1] & high) | (behind[1] & ~high);
    }
  }
}

// Loads a block's values of this lane, zeros past the last. numbers: those of the part's pages, one per lane. The new
// value comes from the kernel ahead.
template <int kWidth>
__device__ __forceinline__ void load_values(typename DecodeShape<kWidth>::Values& to, const DecodeJob& f,
                                            const DecodeBlock& b, int block, int numbers, int column) {
  constexpr int kStepsOfPage = kPageKeys / 16;
  const int lane = static_cast<int>(threadIdx.x) % 32, slot0 = lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int page = 2 * block + half;
    const int64_t at = f.values_at + (b.g * kPageKeys + slot0) * f.V + column;
    const uint16_t* const own = f.pages + __shfl_sync(~0u, numbers, page) * f.page_elements + at;
    if ((page + 1) * kPageKeys <= b.old_keys && page != b.split_page) {
#pragma unroll
      for (int i = 0; i < 8; ++i)
        load_words(to[half * kStepsOfPage + i / 4][i % 4], own + (i / 4 * 16 + i % 2 + i / 2 % 2 * 8) * f.V);
      continue;
    }
    const uint16_t *const tail = b.tail + at, *const fresh = f.v + (b.s * f.G + b.g) * f.V + column;
    const int left = b.keys - page * kPageKeys - slot0, old = b.old_keys - page * kPageKeys - slot0,
              split = page == b.split_page ? b.split - slot0 : -kPageKeys;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int slot = i / 4 * 16 + i % 2 + i / 2 % 2 * 8;
      const uint16_t* const from = slot == old ? fresh : (slot < split ? tail : own) + slot * f.V;
      load_words_or_zeros(to[half * kStepsOfPage + i / 4][i % 4], from, slot < left);
    }
  }
}

// Half-warps norm and turn the heads: queries [heads], then the new key.
template <int kWidth>
__device__ __forceinline__ void place_heads_of(const DecodeJob& f, const DecodeBlock& b, uint16_t* queries,
                                               uint16_t* new_key, float* staged_heads) {
  using Shape = DecodeShape<kWidth>;
  constexpr int kHalves = 2 * Shape::kWarps, kEach = kWidth / kLanes;
  const int half = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  float* const staged = staged_heads + half * kWidth;
  const int items = b.heads + (b.owner ? 1 : 0);
  for (int first = 0; first < items; first += kHalves) {
    // Both halves of a warp stay, because they exchange sums.
    const int item = min(first + half, items - 1);
    const bool is_key = item == b.heads;
    const uint16_t* const from =
        is_key ? f.k + (b.s * f.G + b.g) * f.K : f.q + b.head(f.H, f.heads, item) * f.K;
    float x[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) x[i] = lane + i * kLanes < f.K ? to_f32(from[lane + i * kLanes]) : 0.0f;
    if (f.q_norm != nullptr) {
      float squares = 0.0f;
#pragma unroll
      for (int i = 0; i < kEach; ++i) squares = __fmaf_rn(x[i], x[i], squares);
      const float r = rstd_of(tree_sum(squares), f.K, f.eps);
      const float* const weight = is_key ? f.k_norm : f.q_norm;
#pragma unroll
      for (int i = 0; i < kEach; ++i)
        if (lane + i * kLanes < f.K)
          x[i] = through_bf16(normed<uint16_t>(x[i], r, weight[lane + i * kLanes]));
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (lane + i * kLanes < f.K) staged[lane + i * kLanes] = x[i];
    __syncwarp();
    if (first + half >= items) continue;
    uint16_t* const to = is_key ? new_key : queries + item * Shape::kQueryLine;
    turn_head(f.turn, b.position, staged, [&](int i, float value) { put_f32(to + i, value); });
  }
}

// Writes the new key and value into their page.
__device__ __forceinline__ void write_page(const DecodeJob& f, const DecodeBlock& b, int number,
                                           const uint16_t* new_key) {
  const int slot = b.position % kPageKeys;
  uint16_t* const page = f.pages + number * f.page_elements;
  for (int i = static_cast<int>(threadIdx.x); i < f.K; i += static_cast<int>(blockDim.x))
    page[(b.g * f.K + i) * kPageKeys + slot] = new_key[i];
  for (int i = static_cast<int>(threadIdx.x); i < f.V; i += static_cast<int>(blockDim.x))
    page[f.values_at + (b.g * kPageKeys + slot) * f.V + i] = f.v[(b.s * f.G + b.g) * f.V + i];
}

// Scores of a page's keys, -inf past the row's last.
template <int kWidth>
__device__ __forceinline__ void score_page(const typename DecodeShape<kWidth>::Keys& keys, const DecodeJob& f,
                                           const DecodeBlock& b, int page, const uint16_t* queries,
                                           float* scores) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  float s[2][4] = {};
  const uint16_t* const query = queries + g * DecodeShape<kWidth>::kQueryLine + 2 * t;
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    if (16 * step >= f.K || page * kPageKeys >= b.keys) continue;
    const uint32_t q[2] = {*reinterpret_cast<const uint32_t*>(query + 16 * step),
                           *reinterpret_cast<const uint32_t*>(query + 16 * step + 8)};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t a[4];
      rows_of_word(a, keys[step], i);
      tensor_mma(s[i], a, q);
    }
  }
  const int key = page * kPageKeys + 4 * g, left = b.keys - key;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (2 * t + h >= b.heads) continue;
    const float4 of_head{left > 0 ? s[0][h] : kMinusInfinity, left > 1 ? s[0][h + 2] : kMinusInfinity,
                         left > 2 ? s[1][h] : kMinusInfinity, left > 3 ? s[1][h + 2] : kMinusInfinity};
    *reinterpret_cast<float4*>(scores + (2 * t + h) * kScoreLine + key) = of_head;
  }
}

// A part's sums. m and l are those of head g, o those of heads 2t (elements 0 and 2) and 2t + 1.
template <int kTiles>
struct DecodeSums {
  float m = kMinusInfinity, l = 0.0f, o[kTiles][4] = {};
};

// Adds a block whose scores begin at `scores`.
template <int kWidth>
__device__ __forceinline__ void add_block(DecodeSums<DecodeShape<kWidth>::kTiles>& sums, const float* scores,
                                          const typename DecodeShape<kWidth>::Values& values, float c) {
  constexpr int kTiles = DecodeShape<kWidth>::kTiles;
  const int t = static_cast<int>(threadIdx.x) % 4;
  float s[kBlockKeys / 8][2];
#pragma unroll
  for (int n = 0; n < kBlockKeys / 8; ++n) {
    const float2 pair = *reinterpret_cast<const float2*>(scores + 8 * n);
    s[n][0] = pair.x, s[n][1] = pair.y;
  }
  float most = sums.m;
#pragma unroll
  for (int n = 0; n < kBlockKeys / 8; ++n) most = fmaxf(most, fmaxf(s[n][0], s[n][1]));
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
  const float reference = reference_of(most), yc = __fmul_rn(reference, c);
  const float a = rescale_of(sums.m, reference, c);
  sums.m = most;
  float l = __fmul_rn(sums.l, a);
#pragma unroll
  for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      s[n][e] = weight_of(s[n][e], c, yc);
      l = __fadd_rn(l, s[n][e]);
    }
  }
  sums.l = l;
  if (__any_sync(~0u, a != 1.0f)) {
    const float of_head[2] = {__shfl_sync(~0u, a, 8 * t), __shfl_sync(~0u, a, 8 * t + 4)};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums.o[i][e] = __fmul_rn(sums.o[i][e], of_head[e % 2]);
    }
  }
#pragma unroll
  for (int step = 0; step < kBlockSteps; ++step) {
    const uint32_t weights[2] = {pack_bf16(s[2 * step][0], s[2 * step][1]),
                                 pack_bf16(s[2 * step + 1][0], s[2 * step + 1][1])};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      uint32_t columns[4];
      rows_of_word(columns, values[step], i);
      tensor_mma(sums.o[i], columns, weights);
    }
  }
}

// Writes the part's sums, or the output of a row of one part.
template <int kWidth>
__device__ __forceinline__ void store_sums(const DecodeJob& f, const DecodeBlock& b,
                                           DecodeSums<DecodeShape<kWidth>::kTiles>& sums, int column) {
  using Shape = DecodeShape<kWidth>;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  sums.l = __fadd_rn(sums.l, __shfl_xor_sync(~0u, sums.l, 1));
  sums.l = __fadd_rn(sums.l, __shfl_xor_sync(~0u, sums.l, 2));
  const bool whole = b.position < kPartKeys;
  const float inverse = __fdiv_rn(1.0f, sums.l);
  const float of_head[2] = {__shfl_sync(~0u, inverse, 8 * t), __shfl_sync(~0u, inverse, 8 * t + 4)};
  const int64_t part_rows =
      (b.first / kPartKeys) + b.head(f.H, f.heads, 0) * f.parts - f.first_row * f.H * f.parts;
  if (!whole && threadIdx.x < 32 && t == 0 && g < b.heads) {
    const int64_t at = part_rows + g * f.parts;
    *reinterpret_cast<float2*>(f.part_softmax + 2 * at) = {sums.m, sums.l};
  }
  if (column >= f.V) return;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (2 * t + h >= b.heads) continue;
    float o[Shape::kEach];
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i) o[i] = sums.o[i / 2][h + i % 2 * 2];
    if (whole) {
      uint32_t words[Shape::kWords];
#pragma unroll
      for (int i = 0; i < Shape::kWords; ++i)
        words[i] =
            pack_bf16(__fmaf_rn(o[2 * i], of_head[h], 0.0f), __fmaf_rn(o[2 * i + 1], of_head[h], 0.0f));
      auto* const to = reinterpret_cast<uint32_t*>(f.out + b.head(f.H, f.heads, 2 * t + h) * f.V + column);
#pragma unroll
      for (int i = 0; i < Shape::kWords; ++i) to[i] = words[i];
    } else {
      float* const to = f.part_sums + (part_rows + (2 * t + h) * f.parts) * f.V + column;
#pragma unroll
      for (int i = 0; i < Shape::kEach; ++i) to[i] = o[i];
    }
  }
}

template <int kWidth>
__global__ void __launch_bounds__(DecodeShape<kWidth>::kThreads, kWidth == 128 ? 3 : kWidth == 64 ? 4 : 8)
    decode_part(DecodeJob f) {
  using Shape = DecodeShape<kWidth>;
  __shared__ __align__(16) uint16_t queries[kColumns * Shape::kQueryLine];
  __shared__ __align__(16) uint16_t new_key[kWidth];
  // The staged heads are read before the first score is written.
  __shared__ __align__(16) float scores[kColumns * kScoreLine];
  static_assert(2 * Shape::kWarps * kWidth <= kColumns * kScoreLine);
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  DecodeBlock b;
  if (!block_of(f, b)) {
    if (b.position >= 0 || blockIdx.y > 0) return;
    await_previous();
    for (int i = thread; i < b.heads * f.V; i += Shape::kThreads)
      f.out[b.head(f.H, f.heads, 0) * f.V + i] = 0;
    return;
  }
  const int pages = (b.keys + kPageKeys - 1) / kPageKeys, blocks = (b.keys + kBlockKeys - 1) / kBlockKeys;
  const int numbers = lane < pages ? f.lists.table[b.s * f.lists.max_pages + b.first / kPageKeys + lane] : 0;
  const int column = warp * Shape::kOwn + lane / 4 * Shape::kEach;
  const int read_column = column < f.V ? column : 0;
  typename Shape::Keys keys;
  typename Shape::Values values[2];
  const auto keys_of = [&](int page) {
    load_keys<kWidth>(keys, f, b, page, __shfl_sync(~0u, numbers, page));
  };
  const auto values_of = [&](int block) {
    load_values<kWidth>(values[block % 2], f, b, block, numbers, read_column);
  };
  if (warp < pages) keys_of(warp);
  const bool new_in_first = b.owner && b.old_keys < kBlockKeys;
  if (!new_in_first) values_of(0);
  for (int i = thread + b.heads * Shape::kQueryLine; i < kColumns * Shape::kQueryLine; i += Shape::kThreads)
    queries[i] = 0;
  await_previous();
  if (new_in_first) values_of(0);
  place_heads_of<kWidth>(f, b, queries, new_key, scores);
  __syncthreads();

#pragma unroll 1
  for (int page = warp; page < 2 * blocks; page += Shape::kWarps) {
    if (page > warp && page < pages) keys_of(page);
    if (b.owner && page == b.old_keys / kPageKeys && b.old_keys % kPageKeys / 4 == lane / 4) {
#pragma unroll
      for (int step = 0; step < Shape::kSteps; ++step) {
        if (16 * step >= f.K) continue;
#pragma unroll
        for (int e = 0; e < 4; ++e)
          replace(keys[step][e], b.old_keys % 4, new_key[16 * step + lane % 4 * 2 + e % 2 + e / 2 * 8]);
      }
    }
    score_page<kWidth>(keys, f, b, page, queries, scores);
  }
  if (blocks > 1) values_of(1);
  if (b.owner && b.chunk == 0)
    write_page(f, b, f.lists.table[b.s * f.lists.max_pages + b.position / kPageKeys], new_key);
  __syncthreads();

  DecodeSums<Shape::kTiles> sums;
  const float* const of_head = scores + min(lane / 4, b.heads - 1) * kScoreLine + lane % 4 * 2;
#pragma unroll
  for (int block = 0; block < kPartBlocks; ++block) {
    if (block >= blocks) break;
    add_block<kWidth>(sums, of_head + block * kBlockKeys, values[block % 2], f.scale_log2);
    if (block + 2 < blocks) values_of(block + 2);
  }
  store_sums<kWidth>(f, b, sums, column);
}

// Merges the parts of rows that have several: a warp per row and head.
constexpr int kMergeWarps = 4;
template <int kWidth>
__global__ void __launch_bounds__(32 * kMergeWarps) merge_decoded(DecodeJob f, int64_t rows) {
  let_next_start();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kMergeWarps + threadIdx.x / 32;
  if (index >= rows * f.H) return;
  const int64_t at = f.first_row * f.H + index;
  const int position = f.lists.positions[at / f.H];
  await_previous();
  if (position < kPartKeys) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, parts = position / kPartKeys + 1;
  const float c = f.scale_log2;
  constexpr int kEach = kWidth / 32;
  float m = 0.0f, l = 1.0f, o[kEach] = {};
#pragma unroll 4
  for (int part = 0; part < parts; ++part) {
    const int64_t from = index * f.parts + part;
    const float2 softmax = *reinterpret_cast<const float2*>(f.part_softmax + 2 * from);
    float a = 0.0f, b = 1.0f;
    if (part == 0) {
      m = softmax.x, l = softmax.y;
    } else {
      const float most = fmaxf(m, softmax.x), reference = reference_of(most);
      a = rescale_of(m, reference, c), b = rescale_of(softmax.x, reference, c);
      m = most;
      l = __fmaf_rn(softmax.y, b, __fmul_rn(l, a));
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int v = lane + 32 * i;
      const float sum = v < f.V ? f.part_sums[from * f.V + v] : 0.0f;
      o[i] = part == 0 ? sum : __fmaf_rn(sum, b, __fmul_rn(o[i], a));
    }
  }
  const float inverse = __fdiv_rn(1.0f, l);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int v = lane + 32 * i;
    if (v < f.V) f.out[at * f.V + v] = static_cast<uint16_t>(pack_bf16(__fmaf_rn(o[i], inverse, 0.0f), 0.0f));
  }
}

template <int kWidth>
void launch_rows(DecodeJob f, int64_t rows, bool early, void* stream) {
  using Shape = DecodeShape<kWidth>;
  const dim3 grid(static_cast<unsigned>(rows * f.G * f.chunks), static_cast<unsigned>(f.parts));
  launch_early(early, "tensor_decode", decode_part<kWidth>, grid, Shape::kThreads, 0, stream, f);
  if (f.parts == 1) return;
  const dim3 merges(static_cast<unsigned>(ceil_div(rows * f.H, int64_t{kMergeWarps})));
  launch_early(early, "merge_decoded", merge_decoded<kWidth>, merges, 32 * kMergeWarps, 0, stream, f, rows);
}

const float* vector_at(const Parameter* p) {
  return p != nullptr ? p->value.f32() : nullptr;
}

}  // namespace

bool has_tensor_decode(const KvPages& pages) {
  return on_tensor_cores(pages) && pages.K % 16 == 0 && pages.V % 16 == 0;
}

void tensor_decode(Context& ctx, const TensorDecode& call, const DecodeLists& lists) {
  constexpr int64_t kMostPartFloats = int64_t{1} << 24;  // 64 MiB of scratch
  const KvPages& pages = call.pages;
  DecodeJob f{};
  f.H = static_cast<int>(call.q.dim(1)), f.G = static_cast<int>(pages.G);
  f.K = static_cast<int>(pages.K), f.V = static_cast<int>(pages.V);
  f.heads = f.H / f.G, f.chunks = static_cast<int>(ceil_div(int64_t{f.heads}, int64_t{kColumns}));
  f.parts = ceil_div(lists.max_pages, int64_t{kPartPages});
  const int64_t row_floats = f.parts > 1 ? f.H * f.parts * (f.V + 2) : 1,
                at_once = std::clamp(kMostPartFloats / row_floats, int64_t{1}, std::max<int64_t>(lists.S, 1));
  const OpScope scope(ctx);
  if (f.parts > 1) {
    f.part_sums = ctx.arena.array<float>(at_once * f.H * f.parts * f.V);
    f.part_softmax = ctx.arena.array<float>(at_once * f.H * f.parts * 2);
  }
  if (ctx.measuring) return;
  f.scale_log2 = call.scale * kLog2E;
  f.eps = call.eps;
  f.q_norm = vector_at(call.q_norm), f.k_norm = vector_at(call.k_norm);
  f.turn =
      call.rotary != nullptr ? head_turn(ctx, pages.K, *call.rotary) : HeadTurn{f.K, f.K, false, nullptr};
  f.q = static_cast<const uint16_t*>(call.q.data), f.k = static_cast<const uint16_t*>(call.k.data);
  f.v = static_cast<const uint16_t*>(call.v.data);
  f.out = static_cast<uint16_t*>(call.out.data), f.pages = static_cast<uint16_t*>(pages.data);
  f.page_elements = pages.page_elements();
  f.values_at = pages.G * pages.K * kKeyTile;
  f.lists = lists;
  for (f.first_row = 0; f.first_row < lists.S; f.first_row += at_once) {
    const int64_t rows = std::min(at_once, lists.S - f.first_row);
    with_width(std::max(f.K, f.V), [&](auto width) {
      launch_rows<decltype(width)::value>(f, rows, launches_early(ctx), ctx.stream);
    });
  }
}

}  // namespace r1::cuda
