// ops/attention/tensor_decode_cuda.cu: a decoding step of cuda-bf16 as the memory's speed allows.
//
// A block has a row, up to eight heads of a group, and a part of 256 keys:
//
//   heads     half-warps norm and turn the queries and the new key, which goes into its page with the new value
//   scores    the warps take the pages in turn: keys are the rows of the products, heads their columns
//   softmax   every warp has all scores: lane 4 h + t has keys 2t and 2t + 1 (mod 8) of head h
//   values    each warp has its share of the columns, which are the rows of the products
//
// Each warp has a ring of stages in shared memory, into which it copies what it will read itself: keys of its pages, then
// its columns of all values. So about 190 KiB per multiprocessor are under way, and warps wait for each other only between
// scores and values. Old keys and values do not depend on the kernel ahead, so the first stages are filled before that
// kernel has ended.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/attention/tensor_decode_cuda.cuh"
#include "ops/matmul/tensor_launch_cuda.cuh"
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

// Products of a stage's keys and the queries: s[i][h] is key 16 i + g of head 2t + h, s[i][2 + h] key 16 i + 8 + g.
template <class Shape>
__device__ __forceinline__ void multiply_keys(float (&s)[2][4], uint32_t stage, const uint16_t* query,
                                              int lines) {
#pragma unroll
  for (int step = 0; step < Shape::kKeySteps; ++step) {
    if (16 * step >= lines) break;
    const uint32_t q[2] = {*reinterpret_cast<const uint32_t*>(query + 16 * step),
                           *reinterpret_cast<const uint32_t*>(query + 16 * step + 8)};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t a[4];
      load_blocks_at<true>(a, (stage ^ 32 * i) + 1024 * step);
      tensor_mma(s[i], a, q);
    }
  }
}

// Stores a page's scores, -inf past the row's last key.
__device__ __forceinline__ void store_scores(const float (&s)[2][4], const DecodeBlock& b, int page,
                                             float* scores) {
  const int lane = static_cast<int>(threadIdx.x) % 32, t = lane % 4, g = lane / 4;
  const int left = b.keys - page * kPageKeys - g;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (2 * t + h >= b.heads) continue;
    float* const to = scores + (2 * t + h) * kScoreLine + page * kPageKeys + g;
#pragma unroll
    for (int i = 0; i < 4; ++i) to[8 * i] = 8 * i < left ? s[i / 2][i % 2 * 2 + h] : kMinusInfinity;
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

// Adds a block whose scores begin at `scores`. open(step) returns the address of a step's values in shared memory,
// close(step) says that they have been read.
template <class Shape, class Open, class Close>
__device__ __forceinline__ void add_block(DecodeSums<Shape::kTiles>& sums, const float* scores, float c,
                                          const Open& open, const Close& close) {
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
    const uint32_t stage = open(step);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      uint32_t columns[4];
      load_blocks_at<true>(columns, stage ^ 32 * i);
      tensor_mma(sums.o[i], columns, weights);
    }
    close(step);
  }
}

// Writes the part's sums, or the output of a row of one part.
template <class Shape>
__device__ __forceinline__ void store_sums(const DecodeJob& f, const DecodeBlock& b,
                                           DecodeSums<Shape::kTiles>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32,
            g = lane / 4, t = lane % 4, own = warp * Shape::kOwn;
  sums.l = __fadd_rn(sums.l, __shfl_xor_sync(~0u, sums.l, 1));
  sums.l = __fadd_rn(sums.l, __shfl_xor_sync(~0u, sums.l, 2));
  if (b.position < kPartKeys) {
    const float inverse = __fdiv_rn(1.0f, sums.l);
    const float of_head[2] = {__shfl_sync(~0u, inverse, 8 * t), __shfl_sync(~0u, inverse, 8 * t + 4)};
    // The lanes transpose 8 columns of 8 heads to hold neighbouring columns: lane 4 g + t has 2t and 2t + 1 of head g.
    uint16_t* const to = f.out + static_cast<int64_t>(b.head(f, g)) * f.V + own + 2 * t;
#pragma unroll
    for (int i = 0; i < 2 * Shape::kTiles; ++i) {
      const float* const o = sums.o[i / 2] + i % 2 * 2;
      const uint32_t words =
          transpose_block(pack_bf16(__fmaf_rn(o[0], of_head[0], 0.0f), __fmaf_rn(o[1], of_head[1], 0.0f)));
      if (g < b.heads && own + 8 * i < f.V) *reinterpret_cast<uint32_t*>(to + 8 * i) = words;
    }
    return;
  }
  const int part_rows = (b.head(f, 0) - f.first_row * f.H) * f.parts + static_cast<int>(blockIdx.y);
  if (warp == 0 && t == 0 && g < b.heads)
    *reinterpret_cast<float2*>(f.part_softmax + 2 * (part_rows + g * f.parts)) = {sums.m, sums.l};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (2 * t + h >= b.heads) continue;
    float* const to = f.part_sums + static_cast<int64_t>(part_rows + (2 * t + h) * f.parts) * f.V + own + g;
#pragma unroll
    for (int i = 0; i < 2 * Shape::kTiles; ++i) {
      if (own + 8 * i < f.V) to[8 * i] = sums.o[i / 2][i % 2 * 2 + h];
    }
  }
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) decode_part(DecodeJob f) {
  constexpr int kWidth = Shape::kLines, kStages = Shape::kStages;
  extern __shared__ __align__(128) uint8_t decode_shared[];
  auto* const queries = reinterpret_cast<uint16_t*>(decode_shared + Shape::kRingBytes);
  uint16_t* const new_key = queries + kColumns * Shape::kQueryLine;
  auto* const scores = reinterpret_cast<float*>(new_key + kWidth);
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int numbers = number_of_lane(f);
  DecodeBlock b;
  if (!block_of(f, b)) {
    if (b.position >= 0 || blockIdx.y > 0) return;
    await_previous();
#pragma unroll 1
    for (int i = thread; i < b.heads * f.V; i += Shape::kThreads)
      f.out[static_cast<int64_t>(b.head(f, 0)) * f.V + i] = 0;
    return;
  }
  DecodeStream<Shape> stream(f, b, numbers, static_cast<uint32_t>(__cvta_generic_to_shared(decode_shared)));
  const LaneTurn<kWidth> turn(f.turn, b.position);
  bool awaited = false;
#pragma unroll 1
  for (int i = 0; i < kStages; ++i) {
    if (!awaited && !stream.is_old()) await_previous(), awaited = true;
    stream.copy_next();
  }
#pragma unroll 1
  for (int i = thread + b.heads * Shape::kQueryLine; i < kColumns * Shape::kQueryLine; i += Shape::kThreads)
    queries[i] = 0;
  if (!awaited) await_previous();
  const int blocks = (b.keys + kBlockKeys - 1) / kBlockKeys, last_page = stream.pages - 1;
  const int last_number = stream.number_of(last_page);
  if (b.owner) place_value(f, b, last_number);
  place_heads_of<Shape>(f, b, turn, queries, new_key, scores);
  __syncthreads();

  int done = 0;  // the place in the ring of the stage to be read
  const auto wait = [&] {
    copy_wait<kStages - 1>();
    __syncwarp();
  };
  const auto release = [&] {
    __syncwarp();
    if (++done == kStages) done = 0;
  };
  const uint16_t* const query = queries + lane / 4 * Shape::kQueryLine + lane % 4 * 2;
  const uint32_t key_place = key_fragment(), value_place = value_fragment<Shape>();
#pragma unroll 1
  for (int page = warp; page < 2 * blocks; page += Shape::kWarps) {
    float s[2][4] = {};
    if (page < stream.pages) {
#pragma unroll 1
      for (int line = 0; line < f.K; line += Shape::kKeyLines) {
        wait();
        multiply_keys<Shape>(s, stream.stage(done) + key_place, query + line, f.K - line);
        release();
        stream.copy_next();
      }
    }
    store_scores(s, b, page, scores);
    if (b.owner && page == last_page) score_new_key<Shape>(f, b, new_key, queries, scores);
  }
  if (b.owner) place_key(f, b, last_number, new_key);
  __syncthreads();

  DecodeSums<Shape::kTiles> sums;
  const float* const of_head = scores + min(lane / 4, b.heads - 1) * kScoreLine + lane % 4 * 2;
  constexpr int kStageSteps = Shape::kValueKeys / 16;
#pragma unroll 1
  for (int block = 0; block < blocks; ++block) {
    add_block<Shape>(
        sums, of_head + block * kBlockKeys, f.scale_log2,
        [&](int step) {
          if (step % kStageSteps == 0) wait();
          return stream.stage(done) + value_place + step % kStageSteps * 16 * Shape::kValueBytes;
        },
        [&](int step) {
          if (step % kStageSteps != kStageSteps - 1) return;
          release();
          stream.copy_next_values();
        });
  }
  store_sums<Shape>(f, b, sums);
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
  const int bytes = Shape::shared_bytes(std::min(f.heads, kColumns));
  allow_shared(decode_part<Shape>, bytes);
  launch_early(early, "tensor_decode", decode_part<Shape>, grid, Shape::kThreads, static_cast<size_t>(bytes),
               stream, f);
}

template <int kWidth>
void launch_rows(const DecodeJob& f, int64_t rows, bool early, void* stream) {
  // Two warps per block need fewer instructions for the same keys; four are sooner done with one block.
  constexpr int64_t kFewBlocks = 2;  // per multiprocessor
  if (kWidth == 32 || rows * f.G * f.chunks > kFewBlocks * multiprocessors()) {
    launch_parts<DecodeShape<kWidth, 2, 4>>(f, rows, early, stream);
  } else {
    launch_parts<DecodeShape<kWidth, kWidth == 32 ? 2 : 4, 4>>(f, rows, early, stream);
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
