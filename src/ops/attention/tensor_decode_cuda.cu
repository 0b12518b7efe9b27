// ops/attention/tensor_decode_cuda.cu: a decoding step of cuda-bf16 as the memory's speed allows.
//
// A block has a row, up to eight heads of a group, and a part of 256 keys:
//
//   heads     half-warps norm and turn the queries and the new key, which goes into its page with the new value
//   scores    the warps take the pages in turn: keys are the rows of the products, heads their columns
//   softmax   every warp has all scores: lane 4 h + t has keys 2t and 2t + 1 (mod 8) of head h
//   values    each warp has its share of the columns, which are the rows of the products
//
// Keys and values go from memory to registers, and become operands there: a lane loads four neighbouring keys of a
// line, or columns of a key, and a byte permutation pairs them along k. Old keys and values do not depend on the kernel
// ahead, so the first ones are loaded before that kernel has ended. Instructions cost as much as bytes here: loops are
// rolled up, and rare cases take a second pass instead of code of their own.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/attention/tensor_decode_cuda.cuh"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr float kMinusInfinity = -__builtin_huge_valf();

__device__ __forceinline__ uint16_t rounded_bits(float value) {
  return static_cast<uint16_t>(pack_bf16(value, 0.0f));
}
__device__ __forceinline__ float rounded_to_bf16(float value) {
  return __uint_as_float(pack_bf16(0.0f, value));
}

// The rotary table's numbers of a lane's pairs.
template <int kWidth>
struct LaneTurn {
  static constexpr int kPairs = kWidth / 2 / kLanes;
  float cosines[kPairs], sines[kPairs];
  __device__ __forceinline__ LaneTurn(const HeadTurn& f, int position) {
    const int lane = static_cast<int>(threadIdx.x) % kLanes, pairs = (f.K - f.still) / 2;
    const float* const from = f.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) *
                                            static_cast<int64_t>(pairs);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int pair = lane + i * kLanes;
      cosines[i] = pair < pairs ? from[pair] : 1.0f;
      sines[i] = pair < pairs ? from[kRopeBlock * pairs + pair] : 0.0f;
    }
  }
};

// Half-warps norm and turn the heads: queries [heads], then the new key. Operations are those of heads_cuda.cu.
template <class Shape>
__device__ __forceinline__ void place_heads_of(const DecodeJob& f, const DecodeBlock& b,
                                               const LaneTurn<Shape::kLines>& turn, uint16_t* queries,
                                               uint16_t* new_key, float* staged_heads) {
  constexpr int kWidth = Shape::kLines;
  constexpr int kHalves = 2 * Shape::kWarps, kEach = kWidth / kLanes;
  const int half = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  float* const staged = staged_heads + half * kWidth;
  const int items = b.heads + (b.owner ? 1 : 0), still = f.turn.still, pairs = (f.K - still) / 2;
#pragma unroll 1
  for (int first = 0; first + half / 2 * 2 < items; first += kHalves) {
    // Both halves of a warp stay, because they exchange sums.
    const int item = min(first + half, items - 1);
    const bool is_key = item == b.heads;
    const uint16_t* const from = is_key ? f.k + static_cast<int64_t>(b.s * f.G + b.g) * f.K
                                        : f.q + static_cast<int64_t>(b.head(f, item)) * f.K;
    const float* const weight = is_key ? f.k_norm : f.q_norm;
    float x[kEach], w[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int at = lane + i * kLanes;
      x[i] = at < f.K ? to_f32(from[at]) : 0.0f;
      w[i] = weight != nullptr && at < f.K ? weight[at] : 0.0f;
    }
    if (weight != nullptr) {
      float squares = 0.0f;
#pragma unroll
      for (int i = 0; i < kEach; ++i) squares = __fmaf_rn(x[i], x[i], squares);
      const float r = rstd_of(tree_sum(squares), f.K, f.eps);
#pragma unroll
      for (int i = 0; i < kEach; ++i)
        x[i] = rounded_to_bf16(__fmul_rn(__fmul_rn(x[i], r), rounded_to_bf16(w[i])));
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kEach; ++i) staged[lane + i * kLanes] = x[i];
    __syncwarp();
    if (first + half >= items) continue;
    uint16_t* const to = is_key ? new_key : queries + item * Shape::kQueryLine;
#pragma unroll 1
    for (int i = lane; i < still; i += kLanes) to[i] = rounded_bits(staged[i]);
#pragma unroll
    for (int i = 0; i < LaneTurn<kWidth>::kPairs; ++i) {
      const int pair = lane + i * kLanes;
      if (pair >= pairs) break;
      const int low = still + (f.turn.interleaved ? 2 * pair : pair),
                high = low + (f.turn.interleaved ? 1 : pairs);
      const float x0 = staged[low], x1 = staged[high];
      to[low] = rounded_bits(__fmaf_rn(x0, turn.cosines[i], -__fmul_rn(x1, turn.sines[i])));
      to[high] = rounded_bits(__fmaf_rn(x1, turn.cosines[i], __fmul_rn(x0, turn.sines[i])));
    }
  }
}

// Products of a page's keys and the queries: s[i][h] is key 4g + 2i of head 2t + h, s[i][2 + h] the key behind it. The
// first steps' keys are there; the others' come from `from`, and then those of `next`, if it is not null.
template <class Shape>
__device__ __forceinline__ void multiply_keys(float (&s)[2][4], typename Shape::Keys& keys, int K,
                                              const uint16_t* queries, const uint16_t* from,
                                              const uint16_t* next) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint16_t* const query = queries + lane / 4 * Shape::kQueryLine + lane % 4 * 2;
#pragma unroll
  for (int step = 0; step < Shape::kSteps; ++step) {
    uint32_t(&here)[4][2] = keys[step % Shape::kAhead];
    if (16 * step < K) {
      const uint32_t q[2] = {*reinterpret_cast<const uint32_t*>(query + 16 * step),
                             *reinterpret_cast<const uint32_t*>(query + 16 * step + 8)};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t a[4];
        rows_of_word(a, here, i);
        tensor_mma(s[i], a, q);
      }
    }
    const int ahead = step + Shape::kAhead;
    if (ahead < Shape::kSteps) {
      if (16 * ahead < K) load_step(here, from, ahead);
    } else if (next != nullptr && 16 * (ahead - Shape::kSteps) < K) {
      load_step(here, next, ahead - Shape::kSteps);
    }
  }
}

// Stores a page's scores, -inf past the row's last key. own: those of the keys that are not the prefix's.
__device__ __forceinline__ void store_scores(const float (&s)[2][4], const DecodeBlock& b, int page, bool own,
                                             float* scores) {
  const int lane = static_cast<int>(threadIdx.x) % 32, t = lane % 4, slot = lane / 4 * 4;
  const int left = b.keys - page * kPageKeys - slot, prefix = own ? b.split - slot : 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (2 * t + h >= b.heads) continue;
    float* const to = scores + (2 * t + h) * kScoreLine + page * kPageKeys + slot;
    const float of_head[4] = {s[0][h], s[0][h + 2], s[1][h], s[1][h + 2]};
    if (prefix > 0) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (e >= prefix && e < left) to[e] = of_head[e];
    } else {
      *reinterpret_cast<float4*>(to) = {
          left > 0 ? of_head[0] : kMinusInfinity, left > 1 ? of_head[1] : kMinusInfinity,
          left > 2 ? of_head[2] : kMinusInfinity, left > 3 ? of_head[3] : kMinusInfinity};
    }
  }
}

// The score of the new key, which is every row of the products.
template <class Shape>
__device__ __forceinline__ void score_new_key(const DecodeJob& f, const DecodeBlock& b,
                                              const uint16_t* new_key, const uint16_t* queries,
                                              float* scores) {
  const int lane = static_cast<int>(threadIdx.x) % 32, t = lane % 4;
  const uint16_t* const query = queries + lane / 4 * Shape::kQueryLine + 2 * t;
  float s[4] = {};
#pragma unroll 2
  for (int k = 0; k < f.K; k += 16) {
    const uint32_t q[2] = {*reinterpret_cast<const uint32_t*>(query + k),
                           *reinterpret_cast<const uint32_t*>(query + k + 8)};
    const uint32_t low = *reinterpret_cast<const uint32_t*>(new_key + k + 2 * t),
                   high = *reinterpret_cast<const uint32_t*>(new_key + k + 2 * t + 8);
    const uint32_t a[4] = {low, low, high, high};
    tensor_mma(s, a, q);
  }
  __syncwarp();
#pragma unroll
  for (int h = 0; h < 2; ++h)
    if (lane < 4 && 2 * t + h < b.heads) scores[(2 * t + h) * kScoreLine + b.keys - 1] = s[h];
}

// A part's sums. m and l are those of head g, o those of heads 2t (elements 0 and 2) and 2t + 1.
template <int kTiles>
struct DecodeSums {
  float m = kMinusInfinity, l = 0.0f, o[kTiles][4] = {};
};

// Adds a block whose scores begin at `scores`. load_next(step) loads the next block's values in the place of this one's.
template <class Shape, class LoadNext>
__device__ __forceinline__ void add_block(DecodeSums<Shape::kTiles>& sums, const float* scores,
                                          const typename Shape::Values& values, float c,
                                          const LoadNext& load_next) {
  constexpr int kTiles = Shape::kTiles;
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
    load_next(step);
  }
}

// Writes the part's sums, or the output of a row of one part.
template <class Shape>
__device__ __forceinline__ void store_sums(const DecodeJob& f, const DecodeBlock& b,
                                           DecodeSums<Shape::kTiles>& sums, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  sums.l = __fadd_rn(sums.l, __shfl_xor_sync(~0u, sums.l, 1));
  sums.l = __fadd_rn(sums.l, __shfl_xor_sync(~0u, sums.l, 2));
  const bool whole = b.position < kPartKeys;
  const float inverse = __fdiv_rn(1.0f, sums.l);
  const float of_head[2] = {__shfl_sync(~0u, inverse, 8 * t), __shfl_sync(~0u, inverse, 8 * t + 4)};
  const int part_rows = (b.head(f, 0) - f.first_row * f.H) * f.parts + static_cast<int>(blockIdx.y);
  if (!whole && threadIdx.x < 32 && t == 0 && g < b.heads) {
    const int at = part_rows + g * f.parts;
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
      auto* const to =
          reinterpret_cast<uint32_t*>(f.out + static_cast<int64_t>(b.head(f, 2 * t + h)) * f.V + column);
#pragma unroll
      for (int i = 0; i < Shape::kWords; ++i) to[i] = words[i];
    } else {
      float* const to = f.part_sums + static_cast<int64_t>(part_rows + (2 * t + h) * f.parts) * f.V + column;
#pragma unroll
      for (int i = 0; i < Shape::kEach; ++i) to[i] = o[i];
    }
  }
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) decode_part(DecodeJob f) {
  constexpr int kWidth = Shape::kLines;
  __shared__ __align__(16) uint16_t queries[kColumns * Shape::kQueryLine];
  __shared__ __align__(16) uint16_t new_key[kWidth];
  __shared__ int numbers[kPartPages];  // the part's pages
  // The staged heads are read before the first score is written.
  __shared__ __align__(16) float scores[kColumns * kScoreLine];
  static_assert(2 * Shape::kWarps * kWidth <= kColumns * kScoreLine);
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  DecodeBlock b;
  if (!block_of(f, b)) {
    if (b.position >= 0 || blockIdx.y > 0) return;
    await_previous();
#pragma unroll 1
    for (int i = thread; i < b.heads * f.V; i += Shape::kThreads)
      f.out[static_cast<int64_t>(b.head(f, 0)) * f.V + i] = 0;
    return;
  }
  const int pages = (b.keys + kPageKeys - 1) / kPageKeys, blocks = (b.keys + kBlockKeys - 1) / kBlockKeys;
  const int32_t* const table = f.lists.table + b.s * f.lists.max_pages + b.first / kPageKeys;
  if (thread < pages) numbers[thread] = table[thread];
  const int column = warp * Shape::kOwn + lane / 4 * Shape::kEach;
  const int read_column = column < f.V ? column : 0;
  typename Shape::Keys keys;
  typename Shape::Values values;
  const uint16_t* from = keys_at(f, b, warp, warp < pages ? table[warp] : 0, false);
  if (warp < pages) {
#pragma unroll
    for (int step = 0; step < Shape::kAhead; ++step)
      if (16 * step < f.K) load_step(keys[step], from, step);
  }
  const bool early = is_whole(b, 0);
  if (early) {
    const int first_pages[2] = {table[0], table[1]};
#pragma unroll
    for (int step = 0; step < kBlockSteps; ++step)
      load_whole_step(values[step], f, b, step, first_pages[step / 2], read_column);
  }
  const LaneTurn<kWidth> turn(f.turn, b.position);
#pragma unroll 1
  for (int i = thread + b.heads * Shape::kQueryLine; i < kColumns * Shape::kQueryLine; i += Shape::kThreads)
    queries[i] = 0;
  await_previous();
  const int last_page = (b.keys - 1) / kPageKeys;
  if (b.owner) place_value(f, b, table[last_page]);
  place_heads_of<Shape>(f, b, turn, queries, new_key, scores);
  __syncthreads();

  bool again = false;  // the second pass over the page where the prefix ends
#pragma unroll 1
  for (int page = warp; page < 2 * blocks;) {
    float s[2][4] = {};
    const bool twice = !again && page == b.split_page && b.split % 4 != 0;
    const int next = twice ? page : page + Shape::kWarps;
    const uint16_t* const after = next < pages ? keys_at(f, b, next, numbers[next], twice) : nullptr;
    if (page < pages) multiply_keys<Shape>(s, keys, f.K, queries, from, after);
    store_scores(s, b, page, again, scores);
    if (b.owner && page == last_page && !twice) score_new_key<Shape>(f, b, new_key, queries, scores);
    again = twice, page = next, from = after;
  }
  if (b.owner) place_key(f, b, numbers[last_page], new_key);
  const auto load = [&](int block, int step) {
    load_step_values(values[step], f, b, block, step, is_whole(b, block), numbers, read_column);
  };
  if (!early) {
#pragma unroll
    for (int step = 0; step < kBlockSteps; ++step) load(0, step);
  }
  __syncthreads();

  DecodeSums<Shape::kTiles> sums;
  const float* const of_head = scores + min(lane / 4, b.heads - 1) * kScoreLine + lane % 4 * 2;
#pragma unroll 1
  for (int block = 0; block < blocks; ++block) {
    add_block<Shape>(sums, of_head + block * kBlockKeys, values, f.scale_log2, [&](int step) {
      if (block + 1 < blocks) load(block + 1, step);
    });
  }
  store_sums<Shape>(f, b, sums, column);
}

// Merges the parts of rows that have several: a warp per row and head.
constexpr int kMergeWarps = 4;
template <int kWidth>
__global__ void __launch_bounds__(32 * kMergeWarps) merge_decoded(DecodeJob f, int64_t rows) {
  let_next_start();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kMergeWarps + threadIdx.x / 32;
  if (index >= rows * f.H) return;
  const int64_t at = int64_t{f.first_row} * f.H + index;
  const int position = f.lists.positions[at / f.H];
  await_previous();
  if (position < kPartKeys) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, parts = position / kPartKeys + 1;
  const float c = f.scale_log2;
  constexpr int kEach = kWidth / 32;
  float m = 0.0f, l = 1.0f, o[kEach] = {};
#pragma unroll 2
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

template <class Shape>
void launch_parts(const DecodeJob& f, int64_t rows, bool early, void* stream) {
  const dim3 grid(static_cast<unsigned>(f.G * f.chunks), static_cast<unsigned>(f.parts),
                  static_cast<unsigned>(rows));
  launch_early(early, "tensor_decode", decode_part<Shape>, grid, Shape::kThreads, 0, stream, f);
}

template <int kWidth>
void launch_rows(const DecodeJob& f, int64_t rows, bool early, void* stream) {
  // Blocks of four warps that a multiprocessor holds at a time.
  constexpr int64_t kHeld = DecodeShape<kWidth, 4>::kBlocks;
  if (kWidth == 32 || rows * f.G * f.chunks > kHeld * multiprocessors()) {
    launch_parts<DecodeShape<kWidth, 2>>(f, rows, early, stream);
  } else {
    launch_parts<DecodeShape<kWidth, kWidth == 32 ? 2 : 4>>(f, rows, early, stream);
  }
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
  constexpr int64_t kMostRows = 65535;                   // a grid has no more
  const KvPages& pages = call.pages;
  DecodeJob f{};
  f.H = static_cast<int>(call.q.dim(1)), f.G = static_cast<int>(pages.G);
  f.K = static_cast<int>(pages.K), f.V = static_cast<int>(pages.V);
  f.heads = f.H / f.G, f.chunks = static_cast<int>(ceil_div(int64_t{f.heads}, int64_t{kColumns}));
  f.parts = static_cast<int>(ceil_div(lists.max_pages, int64_t{kPartPages}));
  const int64_t row_floats = f.parts > 1 ? int64_t{f.H} * f.parts * (f.V + 2) : 1,
                at_once = std::clamp(kMostPartFloats / row_floats, int64_t{1}, kMostRows);
  const OpScope scope(ctx);
  if (f.parts > 1) {
    const int64_t parts = std::min(at_once, lists.S) * f.H * f.parts;
    f.part_sums = ctx.arena.array<float>(parts * f.V);
    f.part_softmax = ctx.arena.array<float>(parts * 2);
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
  f.page_elements = static_cast<int>(pages.page_elements());
  f.values_at = f.G * f.K * kPageKeys;
  f.lists = lists;
  for (int64_t first = 0; first < lists.S; first += at_once) {
    const int64_t rows = std::min(at_once, lists.S - first);
    f.first_row = static_cast<int>(first);
    with_width(std::max(f.K, f.V), [&](auto width) {
      launch_rows<decltype(width)::value>(f, rows, launches_early(ctx), ctx.stream);
    });
  }
}

bool attend_heads(Context& ctx, const AttendHeads& call) {
  if (!has_tensor_decode(call.pages)) return false;
  const OpScope scope(ctx);
  const ProjectedHeads& heads = call.heads;
  tensor_decode(ctx,
                {.pages = call.pages,
                 .q = heads.q,
                 .k = heads.k,
                 .v = heads.v,
                 .out = call.out,
                 .q_norm = heads.q_norm,
                 .k_norm = heads.k_norm,
                 .eps = heads.eps,
                 .rotary = &heads.rotary,
                 .scale = call.scale},
                decode_lists(ctx, call.batch));
  return true;
}

}  // namespace r1::cuda
