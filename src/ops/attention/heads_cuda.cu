// ops/attention/heads_cuda.cu: what lies between the projections and the attention of a decoding step, in one launch:
// the norms of the heads of q and k, rope, and the keys' and values' way into their pages. A half-warp has a head.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/attention/decode_cuda.h"
#include "ops/attention/head_turn_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 128, kHeadsHere = kThreads / kLanes;
constexpr int64_t kMostWidth = 256;

template <class V>
struct HeadsJob {
  int64_t H, G, K, width;
  HeadTurn turn;
  const V *q, *k, *v;
  V *turned, *pages;
  const float *q_norm, *k_norm;
  float eps;
  int64_t page_elements, values_at;
  DecodeLists lists;
};

// Rounds to V's type.
template <class V>
__device__ __forceinline__ float rounded(float value) {
  return sizeof(V) == sizeof(float) ? value : through_bf16(value);
}

// The head's K numbers -> staged, normed if there is a weight.
template <class V>
__device__ void stage_head(const HeadsJob<V>& f, const V* from, const float* weight, float* staged) {
  const int K = static_cast<int>(f.K), lane = static_cast<int>(threadIdx.x) % kLanes;
  float r = 1.0f;
  if (f.q_norm != nullptr) {  // for the whole warp, whose halves exchange sums
    const float squares = tree_sum(fold<8>(
        0.0f, K, [&](int64_t i) { return to_f32(from[i]); },
        [](float sum, float v) { return __fmaf_rn(v, v, sum); }));
    r = rstd_of(squares, K, f.eps);
  }
  for (int i = lane; i < K; i += kLanes) {
    const float value = to_f32(from[i]);
    staged[i] = weight != nullptr ? rounded<V>(normed<V>(value, r, weight[i])) : value;
  }
  __syncwarp();
}

// Turns the staged head, as ops/rope/rope_cuda.cu does: put(i, value) for every i.
template <class Put>
__device__ void turn_head(const HeadTurn& f, int position, const float* staged, const Put& put) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes, pairs = (f.K - f.still) / 2;
  for (int i = lane; i < f.still; i += kLanes) put(i, staged[i]);
  const float* cosines = f.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) *
                                       static_cast<int64_t>(pairs);
  for (int pair = lane; pair < pairs; pair += kLanes) {
    const float c = cosines[pair], s = cosines[kRopeBlock * pairs + pair];
    const int first = f.still + (f.interleaved ? 2 * pair : pair),
              second = first + (f.interleaved ? 1 : pairs);
    const float x0 = staged[first], x1 = staged[second];
    put(first, __fmaf_rn(x0, c, -__fmul_rn(x1, s)));
    put(second, __fmaf_rn(x1, c, __fmul_rn(x0, s)));
  }
}

// Heads of a row, in order: H of q, G of k, G of v.
template <class V>
__global__ void __launch_bounds__(kThreads) place_row(HeadsJob<V> f) {
  __shared__ float staged_heads[kHeadsHere][kMostWidth];
  let_next_start();
  await_previous();
  const int64_t s = blockIdx.x;
  const int part = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t head = static_cast<int64_t>(blockIdx.y) * kHeadsHere + part;
  const int position = f.lists.positions[s];
  // Both halves of a warp stay, because they exchange sums; a head past the last one is computed and not stored.
  const int64_t last = f.H + 2 * f.G - 1, at = head < last ? head : last;
  float* const staged = staged_heads[part];
  V* const page =
      position < 0 ? nullptr
                   : f.pages + f.lists.table[s * f.lists.max_pages + position / kKeyTile] * f.page_elements;
  const int slot = position < 0 ? 0 : position % static_cast<int>(kKeyTile);
  const bool stores = head <= last && position >= 0;
  const bool is_query = at < f.H, is_key = !is_query && at < f.H + f.G;
  const int64_t g = is_query ? 0 : is_key ? at - f.H : at - f.H - f.G;
  const V* const from = is_query ? f.q + (s * f.H + at) * f.K
                        : is_key ? f.k + (s * f.G + g) * f.K
                                 : f.k + s * f.G * f.K;
  stage_head(f, from, is_query ? f.q_norm : is_key ? f.k_norm : nullptr, staged);
  if (head > last) return;
  if (is_query) {
    V* const to = f.turned + (s * f.H + at) * f.K;
    if (position < 0) {
      for (int64_t i = lane; i < f.K; i += kLanes) put_f32(to + i, 0.0f);
    } else {
      turn_head(f.turn, position, staged, [&](int i, float value) { put_f32(to + i, value); });
    }
  } else if (!stores) {
    return;
  } else if (is_key) {
    turn_head(f.turn, position, staged,
              [&](int i, float value) { put_f32(page + (g * f.K + i) * kKeyTile + slot, value); });
  } else {
    const V* const value = f.v + (s * f.G + g) * f.width;
    V* const to = page + f.values_at + (g * kKeyTile + slot) * f.width;
    for (int64_t i = lane; i < f.width; i += kLanes) to[i] = value[i];
  }
}

const float* vector_of(const Parameter* p) {
  return p != nullptr ? p->value.f32() : nullptr;
}

template <class V>
void run(Context& ctx, const PlaceHeads& call, const DecodeLists& lists) {
  const ProjectedHeads& heads = call.heads;
  const KvPages& pages = call.pages;
  HeadsJob<V> f{};
  f.H = heads.q.dim(1), f.G = pages.G, f.K = pages.K, f.width = pages.V;
  f.q = static_cast<const V*>(heads.q.data), f.k = static_cast<const V*>(heads.k.data);
  f.v = static_cast<const V*>(heads.v.data);
  f.turned = static_cast<V*>(call.turned.data), f.pages = static_cast<V*>(pages.data);
  f.q_norm = vector_of(heads.q_norm), f.k_norm = vector_of(heads.k_norm);
  f.eps = heads.eps;
  f.page_elements = pages.page_elements(), f.values_at = pages.G * pages.K * kKeyTile;
  f.lists = lists;
  f.turn = head_turn(ctx, f.K, heads.rotary);
  const dim3 grid(static_cast<unsigned>(lists.S), static_cast<unsigned>(ceil_div(f.H + 2 * f.G, kHeadsHere)));
  launch_early(launches_early(ctx), "place_heads", place_row<V>, grid, kThreads, 0, ctx.stream, f);
}

}  // namespace

HeadTurn head_turn(Context& ctx, int64_t K, const Rotary& rotary) {
  const auto& positions = rotary.positions;
  return {.K = static_cast<int>(K),
          .still = static_cast<int>(K - rotary.width()),
          .interleaved = rotary.style == RopeStyle::interleaved,
          .table =
              rotary.table->copy_in(ctx.memory(), 1 + *std::max_element(positions.begin(), positions.end()))};
}

bool has_place_heads(const Context& ctx, const PlaceHeads& call) {
  const KvPages& pages = call.pages;
  const bool fits = decodes(call.batch) && !pages.values_in_keys && pages.K <= kMostWidth;
  return fits && pages.dtype == ctx.activations() &&
         (pages.dtype == DType::f32 || pages.dtype == DType::bf16);
}

void place_heads(Context& ctx, const PlaceHeads& call) {
  const OpScope scope(ctx);
  const DecodeLists lists = decode_lists(ctx, call.batch);
  if (ctx.measuring) return;
  if (call.pages.dtype == DType::f32) return run<float>(ctx, call, lists);
  run<uint16_t>(ctx, call, lists);
}

}  // namespace r1::cuda
