// ops/moe/route_cuda.cu: the router on a CUDA device: scores, selection, the sort by expert, and the backward
// to the router's logits. Formulas and ties are those of route_cpu.cc.
//
// A warp selects the experts of one token. The sort is exact whatever runs first: a warp per (segment of 64 tokens,
// expert) walks the segment's slots in order, once to count and once to place. Few slots, as in decoding, are sorted by
// one block.
#include <cuda_runtime.h>

#include <algorithm>
#include <climits>

#include "base/integers.h"
#include "ops/moe/moe_backend.h"
#include "ops/moe/route_cuda.h"
#include "ops/moe/tensor_moe_cuda.h"
#include "ops/simd/exp_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr unsigned kAll = 0xFFFFFFFFu;
constexpr int32_t kNever = INT32_MIN;

// Returns an integer that compares as the number does. NaN counts as the largest.
__device__ __forceinline__ int32_t key_of(float value) {
  const int32_t bits = __float_as_int(value);
  return value != value ? INT32_MAX : bits ^ ((bits >> 31) & INT32_MAX);
}
__device__ __forceinline__ float value_of(int32_t key) {
  return __int_as_float(key ^ ((key >> 31) & INT32_MAX));
}

// The number of keys before key i: larger ones, and equal ones of a lower index.
__device__ int rank_of(const int32_t* keys, int n, int i) {
  const int32_t mine = keys[i];
  int before = 0;
  for (int j = 0; j < n; ++j) before += keys[j] > mine || (keys[j] == mine && j < i);
  return before;
}

__device__ int32_t group_key(const int32_t* keys, int size, GroupRank rank) {
  int32_t first = kNever, second = kNever;
  for (int e = 0; e < size; ++e) {
    second = max(second, min(first, keys[e]));
    first = max(first, keys[e]);
  }
  return size == 1 || rank == GroupRank::best ? first : key_of(__fadd_rn(value_of(first), value_of(second)));
}

// The number that the selected scores are divided by.
__device__ float divisor(const float* s, const int32_t* selected, const MoeConfig& config) {
  if (!config.norm_topk) return 1.0f;
  float sum = 0;
  for (int64_t a = 0; a < config.active; ++a) sum = __fadd_rn(sum, s[selected[a]]);
  return __fadd_rn(sum, 1e-20f);
}

// A warp's logits s [E] become scores. Maximum and sum of a softmax are chains, which every lane walks.
__device__ void set_scores(float* s, int E, RouterScore score, int lane) {
  if (score == RouterScore::sigmoid) {
    for (int e = lane; e < E; e += 32) s[e] = __fdiv_rn(1.0f, __fadd_rn(1.0f, exp_f32(-s[e])));
    return;
  }
  float most = s[0], sum = 0;
  for (int e = 1; e < E; ++e) most = most < s[e] ? s[e] : most;
  __syncwarp();
  for (int e = lane; e < E; e += 32) s[e] = exp_f32(__fsub_rn(s[e], most));
  __syncwarp();
  for (int e = 0; e < E; ++e) sum = __fadd_rn(sum, s[e]);
  __syncwarp();
  for (int e = lane; e < E; e += 32) s[e] = __fdiv_rn(s[e], sum);
}

// One warp per token: logits become scores, then the selection and its weights. The keys of experts and of
// groups lie in shared memory or, if they are too many, in `room` [T, E + groups].
__global__ void __launch_bounds__(kThreads)
    select_experts(Routing r, MoeConfig config, const float* bias, int32_t* room) {
  let_next_start();
  await_previous();
  extern __shared__ int32_t shared_keys[];
  const int E = static_cast<int>(r.E), groups = static_cast<int>(config.groups), size = E / groups;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t t = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (t >= r.T) return;
  int32_t* keys = room != nullptr ? room + t * (E + groups) : shared_keys + warp * (E + groups);
  int32_t* group_keys = keys + E;
  float* s = r.scores + t * E;
  set_scores(s, E, config.score, lane);
  for (int e = lane; e < E; e += 32) keys[e] = key_of(bias != nullptr ? __fadd_rn(s[e], bias[e]) : s[e]);
  __syncwarp();
  if (config.top_groups < groups) {
    for (int g = lane; g < groups; g += 32)
      group_keys[g] = group_key(keys + g * size, size, config.group_rank);
    __syncwarp();
    for (int e = lane; e < E; e += 32)
      if (rank_of(group_keys, groups, e / size) >= config.top_groups) keys[e] = kNever;
    __syncwarp();
  }
  int32_t* selected = r.experts + t * r.A;
  int count = 0;
  for (int e0 = 0; e0 < E; e0 += 32) {
    const int e = e0 + lane;
    const bool taken = e < E && rank_of(keys, E, e) < config.active;
    const unsigned found = __ballot_sync(kAll, taken);
    if (taken) selected[count + __popc(found & ((1u << lane) - 1))] = e;
    count += __popc(found);
  }
  __syncwarp();
  const float sum = divisor(s, selected, config);
  for (int64_t a = lane; a < r.A; a += 32)
    r.weights[t * r.A + a] = __fmul_rn(__fdiv_rn(s[selected[a]], sum), config.routed_scaling);
}

// Calls body(slot, place) for the slots [begin, end) of one expert, in order, with this thread's slots; returns
// how many there are. All lanes of a warp call it.
template <class Body>
__device__ int for_slots(const Routing& r, int64_t begin, int64_t end, int32_t expert, const Body& body) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int count = 0;
  for (int64_t slot0 = begin; slot0 < end; slot0 += 32) {
    const int64_t slot = slot0 + lane;
    const bool mine = slot < end && r.experts[slot] == expert;
    const unsigned found = __ballot_sync(kAll, mine);
    if (mine) body(slot, count + __popc(found & ((1u << lane) - 1)));
    count += __popc(found);
  }
  return count;
}

// Gives a slot its row of the chunk, whose first slot is `first`.
__device__ __forceinline__ void place_slot(const Routing& r, int64_t first, int64_t slot, int64_t row) {
  r.rows[slot] = static_cast<int32_t>(row);
  r.tokens[first + row] = static_cast<int32_t>(slot / r.A);
  r.row_weights[first + row] = r.weights[slot];
}

// Turns the counts of E experts, in starts[1 .. E], into the first rows. All lanes of one warp call it.
__device__ void sum_starts(int64_t* starts, int E) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int64_t row = 0;
  if (lane == 0) starts[0] = 0;
  for (int e0 = 0; e0 < E; e0 += 32) {
    int64_t sum = e0 + lane < E ? starts[e0 + lane + 1] : 0;
#pragma unroll
    for (int apart = 1; apart < 32; apart *= 2) {
      const int64_t before = __shfl_up_sync(kAll, sum, apart);
      if (lane >= apart) sum += before;
    }
    if (e0 + lane < E) starts[e0 + lane + 1] = row + sum;
    row += __shfl_sync(kAll, sum, 31);
  }
}

constexpr int64_t kSegment = 64;  // tokens

// Segments of the chunks: each chunk has `each`, of which the last may be empty. counts [chunks * each, E].
struct Segments {
  int64_t each;
  int32_t* counts;
  __device__ int64_t chunk(int64_t segment) const { return segment / each; }
  __device__ int64_t begin(const Routing& r, int64_t segment) const {  // slots
    return min(r.T, chunk(segment) * r.chunk + segment % each * kSegment) * r.A;
  }
  __device__ int64_t end(const Routing& r, int64_t segment) const {
    const int64_t last =
        min((chunk(segment) + 1) * r.chunk, chunk(segment) * r.chunk + (segment % each + 1) * kSegment);
    return min(r.T, last) * r.A;
  }
};

__global__ void __launch_bounds__(kThreads) count_slots(Routing r, Segments s) {
  const int64_t segment = blockIdx.x, e = static_cast<int64_t>(blockIdx.y) * kWarps + threadIdx.x / 32;
  if (e >= r.E) return;
  const int count =
      for_slots(r, s.begin(r, segment), s.end(r, segment), static_cast<int32_t>(e), [](int64_t, int) {});
  if (threadIdx.x % 32 == 0) s.counts[segment * r.E + e] = count;
}

// A block per chunk: counts become the rows of an expert before each segment, and `starts` the first rows.
constexpr int kSumThreads = 1024;
__global__ void __launch_bounds__(kSumThreads) sum_counts(Routing r, Segments s) {
  const int64_t c = blockIdx.x, per = (s.each + 31) / 32;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  int64_t* starts = r.starts + c * (r.E + 1);
  const int64_t first = min(lane * per, s.each), end = min(first + per, s.each);
  for (int64_t e = warp; e < r.E; e += kSumThreads / 32) {
    int32_t* counts = s.counts + c * s.each * r.E + e;
    int32_t mine = 0;
    for (int64_t i = first; i < end; ++i) mine += counts[i * r.E];
    int32_t sum = mine;
#pragma unroll
    for (int apart = 1; apart < 32; apart *= 2) {
      const int32_t before = __shfl_up_sync(kAll, sum, apart);
      if (lane >= apart) sum += before;
    }
    int32_t row = sum - mine;
    for (int64_t i = first; i < end; ++i) {
      const int32_t count = counts[i * r.E];
      counts[i * r.E] = row;
      row += count;
    }
    if (lane == 31) starts[e + 1] = sum;
  }
  __syncthreads();
  if (warp == 0) sum_starts(starts, static_cast<int>(r.E));
}

__global__ void __launch_bounds__(kThreads) place_slots(Routing r, Segments s) {
  const int64_t segment = blockIdx.x, e = static_cast<int64_t>(blockIdx.y) * kWarps + threadIdx.x / 32;
  if (e >= r.E) return;
  const int64_t c = s.chunk(segment), row = r.starts[c * (r.E + 1) + e] + s.counts[segment * r.E + e];
  for_slots(r, s.begin(r, segment), s.end(r, segment), static_cast<int32_t>(e),
            [&](int64_t slot, int place) { place_slot(r, c * r.chunk * r.A, slot, row + place); });
}

// The whole sort of one chunk.
__global__ void __launch_bounds__(kSumThreads) sort_slots(Routing r) {
  let_next_start();
  await_previous();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t slots = r.T * r.A;
  for (int64_t e = warp; e < r.E; e += kSumThreads / 32) {
    const int count = for_slots(r, 0, slots, static_cast<int32_t>(e), [](int64_t, int) {});
    if (threadIdx.x % 32 == 0) r.starts[e + 1] = count;
  }
  __syncthreads();
  if (warp == 0) sum_starts(r.starts, static_cast<int>(r.E));
  __syncthreads();
  for (int64_t e = warp; e < r.E; e += kSumThreads / 32) {
    const int64_t row = r.starts[e];
    for_slots(r, 0, slots, static_cast<int32_t>(e),
              [&](int64_t slot, int place) { place_slot(r, 0, slot, row + place); });
  }
}

// Compute, as route_cpu.cc does, the gradient of one token's balance loss with respect to s [E], and from s
// to the logits.
__device__ void set_pull(RouterScore score, const float* s, const float* pull, int64_t E, float* dz) {
  if (score == RouterScore::softmax) {
    for (int64_t e = 0; e < E; ++e) dz[e] = pull[e];
    return;
  }
  float sum = 0, flow = 0;
  for (int64_t e = 0; e < E; ++e) sum = __fadd_rn(sum, s[e]);
  sum = __fadd_rn(sum, 1e-20f);
  for (int64_t e = 0; e < E; ++e) flow = __fmaf_rn(pull[e], __fdiv_rn(s[e], sum), flow);
  for (int64_t e = 0; e < E; ++e) dz[e] = __fdiv_rn(__fsub_rn(pull[e], flow), sum);
}

__device__ void through_scores(RouterScore score, const float* s, int64_t E, float* dz) {
  if (score == RouterScore::softmax) {
    float flow = 0;
    for (int64_t e = 0; e < E; ++e) flow = __fmaf_rn(dz[e], s[e], flow);
    for (int64_t e = 0; e < E; ++e) dz[e] = __fmul_rn(__fsub_rn(dz[e], flow), s[e]);
    return;
  }
  for (int64_t e = 0; e < E; ++e) dz[e] = __fmul_rn(dz[e], __fmul_rn(s[e], __fsub_rn(1.0f, s[e])));
}

// One thread per token, as every sum over experts is a chain.
__global__ void __launch_bounds__(kThreads)
    logit_gradients(Routing r, MoeConfig config, const float* drow, Balance balance, float* dlogits) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, E = r.E;
  if (t >= r.T) return;
  const float* s = r.scores + t * E;
  float* dz = dlogits + t * E;  // holds the gradient of s until the last loop
  for (int64_t e = 0; e < E; ++e) dz[e] = 0.0f;
  if (balance.pull != nullptr) {
    set_pull(config.score, s, balance.pull + balance.token_row[t] * E, E, dz);
  }
  if (drow != nullptr) {
    const int32_t *selected = r.experts + t * r.A, *rows = r.rows + t * r.A;
    const float* dw = drow + t / r.chunk * r.chunk * r.A;
    const float sum = divisor(s, selected, config);
    float flow = 0;
    for (int64_t a = 0; a < r.A && config.norm_topk; ++a)
      flow = __fmaf_rn(dw[rows[a]], __fdiv_rn(s[selected[a]], sum), flow);
    for (int64_t a = 0; a < r.A; ++a) {
      const float ds = __fmul_rn(__fdiv_rn(__fsub_rn(dw[rows[a]], flow), sum), config.routed_scaling);
      dz[selected[a]] = __fadd_rn(dz[selected[a]], ds);
    }
  }
  through_scores(config.score, s, E, dz);
}

}  // namespace

// A chunk bounds the scratch of the experts to about a GiB; a device has no caches to respect. Gradients on tensor cores
// are summed over all tokens at once.
int64_t moe_chunk_tokens(const Context& ctx, const MoeWeights& w) {
  constexpr int64_t kWholeBatch = int64_t{1} << 31;
  if (ctx.tape != nullptr && tensor_experts(ctx)) return kWholeBatch;
  constexpr int64_t kScratchFloats = int64_t{1} << 28, kBlock = 64;
  const int64_t each = w.config.active * (w.router.K() + 3 * w.experts[0].gate.N());
  return ceil_div(std::clamp<int64_t>(kScratchFloats / each, 1024, 65536), kBlock) * kBlock;
}

void moe_route(Context& ctx, const MoeRoute& call) {
  const MoeConfig& config = call.w.config;
  const Routing& r = call.routing;
  const float* bias = call.w.bias != nullptr ? call.w.bias->value.f32() : nullptr;
  const OpScope scope(ctx);
  if (tensor_experts(ctx)) {
    tensor_router(ctx, call.w.router, call.x, r.scores);
  } else {
    matmul_into(ctx, call.x.f32(), r.T, call.w.router, r.scores);
  }
  constexpr size_t kMostShared = size_t{48} << 10;
  auto shared = static_cast<size_t>(kWarps * (r.E + config.groups)) * sizeof(int32_t);
  int32_t* keys = nullptr;
  if (shared > kMostShared) keys = ctx.arena.array<int32_t>(r.T * (r.E + config.groups)), shared = 0;
  Segments segments{.each = ceil_div(std::min(r.chunk, r.T), kSegment), .counts = nullptr};
  segments.counts = ctx.arena.array<int32_t>(r.chunks() * segments.each * r.E);
  if (ctx.measuring || r.T == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  launch_early(launches_early(ctx), "moe selection", select_experts,
               static_cast<unsigned>(ceil_div(r.T, kWarps)), kThreads, shared, ctx.stream, r, config, bias,
               keys);
  // Slots that one block's warps look at, one after the other.
  constexpr int64_t kFewSlots = 8192;
  if (r.chunks() == 1 && r.slots() * ceil_div(r.E, int64_t{kSumThreads / 32}) <= kFewSlots) {
    return launch_early(launches_early(ctx), "moe rows", sort_slots, 1, kSumThreads, 0, ctx.stream, r);
  }
  const dim3 grid(static_cast<unsigned>(r.chunks() * segments.each),
                  static_cast<unsigned>(ceil_div(r.E, kWarps)));
  count_slots<<<grid, kThreads, 0, stream>>>(r, segments);
  check_launch("moe counts");
  sum_counts<<<static_cast<unsigned>(r.chunks()), kSumThreads, 0, stream>>>(r, segments);
  check_launch("moe starts");
  place_slots<<<grid, kThreads, 0, stream>>>(r, segments);
  check_launch("moe rows");
}

void route_backward(Context& ctx, const MoeConfig& config, const Routing& r, const float* drow,
                    const Balance& balance, float* dlogits) {
  if (ctx.measuring || r.T == 0) return;
  logit_gradients<<<static_cast<unsigned>(ceil_div(r.T, kThreads)), kThreads, 0,
                    static_cast<cudaStream_t>(ctx.stream)>>>(r, config, drow, balance, dlogits);
  check_launch("moe router backward");
}

}  // namespace r1::cuda
