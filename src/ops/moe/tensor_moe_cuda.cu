// ops/moe/tensor_moe_cuda.cu: the experts of cuda-bf16: gather by expert, three grouped products, combine; and the
// backward. Blocks read on the device which rows are theirs: the host never waits for the routing.
//
// With a tape all tokens are one chunk, so that an expert's rows of a family lie together.
#include <cuda_runtime.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "base/integers.h"
#include "ops/convert/convert_cuda.h"
#include "ops/matmul/listed_gradient_cuda.cuh"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/moe/expert_matrices_cuda.h"
#include "ops/moe/tensor_moe_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

// --- rows

// to[r] = from[rows[r]], D elements each. kVectors: eight at a time.
template <bool kVectors>
__global__ void __launch_bounds__(kThreads)
    gather_bits(const uint16_t* from, const int32_t* rows, int64_t n, int64_t D, uint16_t* to) {
  let_next_start();
  await_previous();
  const int64_t each = kVectors ? D / kVector : D, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n * each; i += step) {
    const int64_t row = i / each, at = i % each;
    if constexpr (kVectors) {
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[rows[row] * each + at];
    } else {
      to[i] = from[rows[row] * D + at];
    }
  }
}

// V: float4, or float if rows hold no whole vectors; D counts them.
__device__ __forceinline__ void add_weighted_to(float& sum, float weight, float value) {
  sum = __fmaf_rn(weight, value, sum);
}
__device__ __forceinline__ void add_weighted_to(float4& sum, float weight, const float4& value) {
  sum.x = __fmaf_rn(weight, value.x, sum.x), sum.y = __fmaf_rn(weight, value.y, sum.y);
  sum.z = __fmaf_rn(weight, value.z, sum.z), sum.w = __fmaf_rn(weight, value.w, sum.w);
}
__device__ __forceinline__ void add_to(float& sum, float value) {
  sum = __fadd_rn(sum, value);
}
__device__ __forceinline__ void add_to(float4& sum, const float4& value) {
  sum.x = __fadd_rn(sum.x, value.x), sum.y = __fadd_rn(sum.y, value.y);
  sum.z = __fadd_rn(sum.z, value.z), sum.w = __fadd_rn(sum.w, value.w);
}

// y[t] = sum over a < A, in order, by FMA from +0, of weights[t, a] * in[rows[t, a]].
template <class V>
__global__ void __launch_bounds__(kThreads)
    combine_outputs(const V* in, const int32_t* rows, const float* weights, int64_t T, int64_t A, int64_t D,
                    V* y) {
  let_next_start();
  await_previous();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < T * D; i += step) {
    const int64_t t = i / D, d = i % D;
    V sum{};
    for (int64_t a = 0; a < A; ++a) add_weighted_to(sum, weights[t * A + a], in[rows[t * A + a] * D + d]);
    y[i] = sum;
  }
}

// sum = in[rows[t, 0]] + in[rows[t, 1]] + ..., in order; y[t] = sum, or y[t] + sum.
template <class V>
__global__ void __launch_bounds__(kThreads)
    add_inputs(const V* in, const int32_t* rows, int64_t T, int64_t A, int64_t D, bool accumulate, V* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < T * D; i += step) {
    const int64_t t = i / D, d = i % D;
    V sum = in[rows[t * A] * D + d];
    for (int64_t a = 1; a < A; ++a) add_to(sum, in[rows[t * A + a] * D + d]);
    if (accumulate) {
      V all = y[i];
      add_to(all, sum);
      sum = all;
    }
    y[i] = sum;
  }
}

// --- SwiGLU

__device__ __forceinline__ uint32_t two_bits(float low, float high) {
  return bf16_bits(low) | static_cast<uint32_t>(bf16_bits(high)) << 16;
}
__device__ __forceinline__ float low_of(uint32_t two) {
  return __uint_as_float(two << 16);
}
__device__ __forceinline__ float high_of(uint32_t two) {
  return __uint_as_float(two & 0xFFFF0000u);
}
__device__ __forceinline__ float swiglu_of(float gate, float up) {
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, exp_f32(-gate))), up);
}

// h = silu(gate) * up for n pairs of elements.
__global__ void __launch_bounds__(kThreads)
    swiglu_pairs(const uint32_t* gate, const uint32_t* up, int64_t n, uint32_t* h) {
  let_next_start();
  await_previous();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const uint32_t g = gate[i], u = up[i];
    h[i] = two_bits(swiglu_of(low_of(g), low_of(u)), swiglu_of(high_of(g), high_of(u)));
  }
}

// One row of moe_kernels::swiglu_row_backward per half-warp. gate and up become their gradients; weighted: weight * h.
__global__ void __launch_bounds__(kThreads)
    swiglu_bits_backward(uint16_t* gate, uint16_t* up, const float* dh, int64_t n, int64_t F,
                         const float* weights, uint16_t* weighted, float* drow) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const bool here = row < n;  // whole warps run: lanes exchange sums
  const float weight = here ? weights[row] : 0.0f;
  float lane = 0.0f;
  for (int64_t i = threadIdx.x % kLanes; here && i < F; i += kLanes) {
    const int64_t at = row * F + i;
    const float g = to_f32(gate[at]), u = to_f32(up[at]), in = dh[at];
    const float denominator = __fadd_rn(1.0f, exp_f32(-g));
    const float s = __fdiv_rn(1.0f, denominator), silu = __fdiv_rn(g, denominator);
    const float slope = __fmul_rn(s, __fmaf_rn(g, __fsub_rn(1.0f, s), 1.0f));
    const float h = through_bf16(__fmul_rn(silu, u));
    const float flow = __fmul_rn(weight, in);
    lane = __fmaf_rn(h, in, lane);
    gate[at] = bf16_bits(__fmul_rn(__fmul_rn(flow, u), slope));
    up[at] = bf16_bits(__fmul_rn(flow, silu));
    weighted[at] = bf16_bits(__fmul_rn(weight, h));
  }
  const float sum = tree_sum(lane);
  if (here && threadIdx.x % kLanes == 0) drow[row] = sum;
}

// --- gradients of the experts' matrices

// The k of every expert's gradients: rows of the routing and their tokens, -1: none. Expert e has k[e] of them, from
// place(e) on.
struct ExpertSteps {
  int32_t *rows, *tokens, *k;
  const int64_t* starts;  // starts of the routing
  int64_t families;
  __host__ __device__ static int64_t most(int64_t slots, int64_t experts, int64_t families) {
    return slots + (kTensorStep - 1) * experts * families;
  }
  __device__ int64_t place(int64_t e) const { return starts[e] + (kTensorStep - 1) * e * families; }
};

// The first of an expert's rows [begin, end), which are in order of their tokens, with a token of at least `token`.
__device__ __forceinline__ int64_t first_row(const int32_t* tokens, int64_t begin, int64_t end,
                                             int32_t token) {
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (tokens[middle] < token) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// A warp per expert. firsts [families + 1]: the first token of each family, and the end.
__global__ void __launch_bounds__(32)
    list_steps(ExpertSteps s, const int32_t* tokens, const int32_t* firsts) {
  const int64_t e = blockIdx.x, begin = s.starts[e], end = s.starts[e + 1];
  const int lane = static_cast<int>(threadIdx.x);
  int32_t *rows = s.rows + s.place(e), *of = s.tokens + s.place(e);
  int32_t at = 0;
  for (int64_t f0 = 0; f0 < s.families; f0 += 32) {
    const int64_t f = f0 + lane;
    int32_t first = 0, count = 0;
    if (f < s.families) {
      first = static_cast<int32_t>(first_row(tokens, begin, end, firsts[f]));
      count = static_cast<int32_t>(first_row(tokens, first, end, firsts[f + 1])) - first;
    }
    const int here = static_cast<int>(min(s.families - f0, int64_t{32}));
    for (int i = 0; i < here; ++i) {
      const int32_t row0 = __shfl_sync(~0u, first, i), n = __shfl_sync(~0u, count, i);
      const int32_t filled = (n + 15) / 16 * 16;
      for (int32_t j = lane; j < filled; j += 32) {
        rows[at + j] = j < n ? row0 + j : -1;
        of[at + j] = j < n ? tokens[row0 + j] : -1;
      }
      at += filled;
    }
  }
  if (lane == 0) s.k[e] = at;
}

// The gradients of gate, up and down: matrix m has blocks [first[m], first[m + 1]) of each expert.
struct ExpertGradients {
  ListedGradient matrices[3];
  float* const* gradients;  // [3, experts]; null: not wanted
  ExpertSteps steps;
  int first[4];
  __device__ int64_t enter(ListedGradient& g) const {
    const int64_t e = blockIdx.y;
    const int block = static_cast<int>(blockIdx.x), m = (block >= first[1]) + (block >= first[2]);
    g = matrices[m];
    g.d = gradients[m * static_cast<int64_t>(gridDim.y) + e];
    g.k = steps.k[e];
    const int64_t place = steps.place(e);
    g.p_rows += place, g.q_rows += place;
    return g.d == nullptr ? -1 : block - first[m];
  }
};

// --- the steps

unsigned blocks_for(int64_t n) {
  return static_cast<unsigned>(
      std::clamp<int64_t>(ceil_div(n, kThreads), 1, int64_t{multiprocessors()} * 16));
}

void gather(Context& ctx, const uint16_t* from, const int32_t* rows, int64_t n, int64_t D, uint16_t* to) {
  const bool vectors = D % kVector == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
  launch_early(launches_early(ctx), "moe gather", vectors ? gather_bits<true> : gather_bits<false>,
               blocks_for(n * D / (vectors ? kVector : 1)), kThreads, 0, ctx.stream, from, rows, n, D, to);
}

bool takes_fours(int64_t D, const void* a, const void* b) {
  return D % 4 == 0 && reinterpret_cast<uintptr_t>(a) % 16 == 0 && reinterpret_cast<uintptr_t>(b) % 16 == 0;
}

// Bits of bf16 of [T, D]: in place, or rounded into the arena.
const uint16_t* bits_of(Context& ctx, const Tensor& x) {
  if (x.dtype == DType::bf16) return x.bf16();
  auto* to = ctx.arena.array<uint16_t>(x.count());
  if (!ctx.measuring) narrow_f32(x.f32(), x.count(), to, ctx.stream);
  return to;
}

// The first tokens of the batch's families, and their end.
std::span<const int32_t> first_tokens(Context& ctx, int64_t T) {
  const int64_t count = ctx.steps != nullptr ? std::ssize(ctx.steps->families) : 1;
  auto* list = ctx.host().array<int32_t>(count + 1);
  list[0] = 0, list[count] = static_cast<int32_t>(T);
  for (int64_t i = 0; i + 1 < count; ++i)
    list[i + 1] = list[i] + static_cast<int32_t>(ctx.steps->families[static_cast<size_t>(i)]);
  R1_CHECK(ctx.steps == nullptr ||
               std::accumulate(ctx.steps->families.begin(), ctx.steps->families.end(), int64_t{0}) == T,
           "experts of ", T, " tokens");
  return {list, static_cast<size_t>(count) + 1};
}

// The operands of the matrices' gradients, in bf16: x and dy [T, D]; the gradients of gate and up, and weight * h [A T, F].
struct GradientOperands {
  const uint16_t *x, *dy, *dgate, *dup, *h;
};

void add_gradients(Context& ctx, const Routing& r, const ExpertMatrices& experts, const GradientOperands& in,
                   int64_t D, int64_t F) {
  if (!experts.trained()) return;
  const std::span<const int32_t> firsts = first_tokens(ctx, r.T);
  ExpertSteps steps{.rows = nullptr,
                    .tokens = nullptr,
                    .k = nullptr,
                    .starts = r.starts,
                    .families = std::ssize(firsts) - 1};
  const int64_t most = ExpertSteps::most(r.slots(), r.E, steps.families);
  steps.rows = ctx.arena.array<int32_t>(most), steps.tokens = ctx.arena.array<int32_t>(most);
  steps.k = ctx.arena.array<int32_t>(r.E);
  Upload upload(ctx);
  const int first_list = upload.add(firsts);
  upload.send();
  if (ctx.measuring) return;
  list_steps<<<static_cast<unsigned>(r.E), 32, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      steps, r.tokens, upload.at<int32_t>(first_list));
  check_launch("moe steps");
  using Tile = ListedTile<128>;
  ExpertGradients all{.matrices = {}, .gradients = experts.gradients(), .steps = steps, .first = {}};
  const bool vectors = D % kVector == 0 && F % kVector == 0 && reinterpret_cast<uintptr_t>(in.x) % 16 == 0;
  for (int m = 0; m < 3; ++m) {
    const bool down = m == 2;
    const uint16_t* const slots = down ? in.h : m == 0 ? in.dgate : in.dup;
    const uint16_t* const tokens = down ? in.dy : in.x;
    ListedGradient& g = all.matrices[m];
    g = {.p = down ? tokens : slots,
         .q = down ? slots : tokens,
         .p_row = down ? D : F,
         .q_row = down ? F : D,
         .p_rows = down ? steps.tokens : steps.rows,
         .q_rows = down ? steps.rows : steps.tokens,
         .I = down ? D : F,
         .J = down ? F : D,
         .accumulate = true,
         .vectors = vectors};
    all.first[m + 1] = all.first[m] + static_cast<int>(Tile::tiles(g.I, g.J));
  }
  launch_listed<Tile>(all, dim3(static_cast<unsigned>(all.first[3]), static_cast<unsigned>(r.E)), ctx.stream,
                      "moe dw");
}

}  // namespace

void tensor_router(Context& ctx, const Weight& router, const Tensor& x, float* scores) {
  const TensorProduct product = forward_product({.x = bits_of(ctx, x),
                                                 .T = x.dim(0),
                                                 .w = router.bf16_rows(ctx),
                                                 .N = router.N(),
                                                 .K = router.K(),
                                                 .y = scores,
                                                 .most_shards = ctx.row().k_shards,
                                                 .early = launches_early(ctx)});
  const int64_t parts = split_parts(product);
  float* sums = parts > 1 ? ctx.arena.array<float>(parts * product.I * product.J) : nullptr;
  if (ctx.measuring) return;
  if (sums != nullptr) return tensor_product_in_parts(product, sums, ctx.stream);
  tensor_product(product, ctx.stream);
}

void tensor_router_gradient(Context& ctx, const Weight& router, const float* dlogits, const Tensor& x) {
  const Tensor& grad = router.dense().grad;
  if (!grad) return;
  const int64_t T = x.dim(0), E = router.N(), D = router.K();
  const uint16_t* const in = bits_of(ctx, x);
  auto* const dy = ctx.arena.array<uint16_t>(T * E);
  if (!ctx.measuring) narrow_f32(dlogits, T * E, dy, ctx.stream);
  if (ctx.steps != nullptr) return split_weight_gradient(ctx, in, dy, E, D, grad.f32());
  if (!ctx.measuring)
    tensor_product(weight_gradient_product(in, dy, T, E, D, nullptr, 0, grad.f32()), ctx.stream);
}

void tensor_experts_forward(Context& ctx, const MoeForward& call) {
  const MoeSaved& saved = call.saved;
  const Routing& r = saved.routing;
  const int64_t D = saved.x.dim(1), F = call.w.experts[0].gate.N(), most = std::min(r.chunk, r.T) * r.A;
  R1_CHECK(ctx.tape == nullptr || r.chunks() <= 1, "experts of ", r.chunks(), " chunks on a tape");
  const OpScope scope(ctx);
  const ExpertMatrices experts(ctx, call.w, most, ExpertMatrices::Use::forward);
  const uint16_t* const x = bits_of(ctx, saved.x);
  auto* const rows = ctx.arena.array<uint16_t>(most * std::max(D, F));  // x by row, then h
  auto* const outputs = ctx.arena.array<float>(most * D);
  if (ctx.measuring || r.T == 0) return;
  auto* const gate = reinterpret_cast<uint16_t*>(saved.gate);
  auto* const up = reinterpret_cast<uint16_t*>(saved.up);
  const bool early = launches_early(ctx);
  for (int64_t c = 0; c < r.chunks(); ++c) {
    const int64_t begin = c * r.chunk, tokens = std::min(r.T, begin + r.chunk) - begin, first = begin * r.A,
                  n = tokens * r.A;
    const ExpertRows of_experts{.starts = r.starts + c * (r.E + 1), .slots = n, .tokens = tokens};
    gather(ctx, x, r.tokens + first, n, D, rows);
    const ExpertMatrices::Product gated[] = {{ExpertMatrix::gate, rows, gate, true},
                                             {ExpertMatrix::up, rows, up, true}};
    experts.multiply(ctx, of_experts, gated);
    // A pair past the last element is room that nobody reads.
    const int64_t pairs = ceil_div(n * F, 2);
    launch_early(early, "moe swiglu", swiglu_pairs, blocks_for(pairs), kThreads, 0, ctx.stream,
                 reinterpret_cast<const uint32_t*>(gate), reinterpret_cast<const uint32_t*>(up), pairs,
                 reinterpret_cast<uint32_t*>(rows));
    const ExpertMatrices::Product down{ExpertMatrix::down, rows, outputs};
    experts.multiply(ctx, of_experts, std::span(&down, 1));
    float* const y = call.y.f32() + begin * D;
    const auto combine = [&]<class V>(int64_t width, const V* in, V* to) {
      launch_early(early, "moe combine", combine_outputs<V>, blocks_for(tokens * width), kThreads, 0,
                   ctx.stream, in, r.rows + first, r.weights + first, tokens, r.A, width, to);
    };
    if (takes_fours(D, outputs, y)) {
      combine(D / 4, reinterpret_cast<const float4*>(outputs), reinterpret_cast<float4*>(y));
    } else {
      combine(D, static_cast<const float*>(outputs), y);
    }
  }
}

void tensor_experts_backward(Context& ctx, const MoeBackward& call, float* drow) {
  const MoeSaved& saved = call.saved;
  const Routing& r = saved.routing;
  const int64_t D = saved.x.dim(1), F = call.w.experts[0].gate.N(), n = r.slots();
  R1_CHECK(r.chunks() == 1, "experts of ", r.chunks(), " chunks on a tape");
  const ExpertMatrices experts(ctx, call.w, n, ExpertMatrices::Use::transposed);
  const uint16_t* const x = bits_of(ctx, saved.x);
  const uint16_t* const dy = bits_of(ctx, call.dy);
  auto* const weighted = ctx.arena.array<uint16_t>(n * F);
  auto* const gate = reinterpret_cast<uint16_t*>(saved.gate);
  auto* const up = reinterpret_cast<uint16_t*>(saved.up);
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const ExpertRows of_experts{.starts = r.starts, .slots = n, .tokens = r.T};
  {
    const OpScope scope(ctx);
    auto* const rows = ctx.arena.array<uint16_t>(n * D);  // dy by row
    float* const dh = ctx.arena.array<float>(n * F);
    if (!ctx.measuring) {
      gather(ctx, dy, r.tokens, n, D, rows);
      const ExpertMatrices::Product down{ExpertMatrix::down, rows, dh};
      experts.multiply(ctx, of_experts, std::span(&down, 1));
      swiglu_bits_backward<<<static_cast<unsigned>(ceil_div(n, kThreads / kLanes)), kThreads, 0, stream>>>(
          gate, up, dh, n, F, r.row_weights, weighted, drow);
      check_launch("moe swiglu backward");
    }
  }
  {
    const OpScope scope(ctx);
    add_gradients(ctx, r, experts, {.x = x, .dy = dy, .dgate = gate, .dup = up, .h = weighted}, D, F);
  }
  if (!call.dx) return;
  const OpScope scope(ctx);
  float* const rows = ctx.arena.array<float>(n * D);
  if (ctx.measuring) return;
  const ExpertMatrices::Product gated[] = {{ExpertMatrix::gate, gate, rows}, {ExpertMatrix::up, up, rows}};
  experts.sum(ctx, of_experts, gated);
  float* const dx = call.dx.grad.f32();
  if (takes_fours(D, rows, dx)) {
    add_inputs<<<blocks_for(r.T * D / 4), kThreads, 0, stream>>>(reinterpret_cast<const float4*>(rows),
                                                                 r.rows, r.T, r.A, D / 4, call.dx.accumulate,
                                                                 reinterpret_cast<float4*>(dx));
  } else {
    add_inputs<<<blocks_for(r.T * D), kThreads, 0, stream>>>(rows, r.rows, r.T, r.A, D, call.dx.accumulate,
                                                             dx);
  }
  check_launch("moe dx");
}

}  // namespace r1::cuda
