// ops/moe/moe_cuda.cu: the experts on a CUDA device: gather by expert, three grouped products, combine; and
// the backward. Steps, orders and memory are those of moe_cpu.cc.
//
// A product over all experts is one launch, whose blocks read on the device which rows are theirs: the host
// never waits for the routing. This is cpu-f32's file; cuda-bf16 has tensor_moe_cuda.cu.
#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/elementwise/elementwise_cuda.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/moe/moe_backend.h"
#include "ops/moe/route_cuda.h"
#include "ops/moe/tensor_moe_cuda.h"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "ops/swiglu/swiglu_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

// y[t] = sum over a < A, in order, by FMA from +0, of weights[t, a] * in[rows[t, a]].
__global__ void __launch_bounds__(kThreads)
    combine_rows(const float* in, const int32_t* rows, const float* weights, int64_t A, int64_t D, float* y) {
  const int64_t t = blockIdx.x;
  for (int64_t d = threadIdx.x; d < D; d += kThreads) {
    float sum = 0.0f;
    for (int64_t a = 0; a < A; ++a) sum = __fmaf_rn(weights[t * A + a], in[rows[t * A + a] * D + d], sum);
    y[t * D + d] = sum;
  }
}

// sum = in[rows[t, 0]] + in[rows[t, 1]] + ..., in order; y[t] = sum, or y[t] + sum.
__global__ void __launch_bounds__(kThreads)
    add_rows(const float* in, const int32_t* rows, int64_t A, int64_t D, bool accumulate, float* y) {
  const int64_t t = blockIdx.x;
  for (int64_t d = threadIdx.x; d < D; d += kThreads) {
    float sum = in[rows[t * A] * D + d];
    for (int64_t a = 1; a < A; ++a) sum = __fadd_rn(sum, in[rows[t * A + a] * D + d]);
    y[t * D + d] = accumulate ? __fadd_rn(y[t * D + d], sum) : sum;
  }
}

// moe_kernels::swiglu_row_backward for n rows, a half-warp each.
__global__ void __launch_bounds__(kThreads)
    swiglu_rows_backward(float* gate, float* up, float* dh, int64_t n, int64_t F, const float* weights,
                         float* drow) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const bool here = row < n;  // whole warps run: lanes exchange sums
  const float weight = here ? weights[row] : 0.0f;
  float lane = 0.0f;
  for (int64_t i = threadIdx.x % kLanes; here && i < F; i += kLanes) {
    const int64_t at = row * F + i;
    const float g = gate[at], u = up[at], in = dh[at];
    const float denominator = __fadd_rn(1.0f, exp_f32(-g));
    const float s = __fdiv_rn(1.0f, denominator), silu = __fdiv_rn(g, denominator);
    const float slope = __fmul_rn(s, __fmaf_rn(g, __fsub_rn(1.0f, s), 1.0f));
    const float h = __fmul_rn(silu, u);
    const float flow = __fmul_rn(weight, in);
    lane = __fmaf_rn(h, in, lane);
    gate[at] = __fmul_rn(__fmul_rn(flow, u), slope);
    up[at] = __fmul_rn(flow, silu);
    dh[at] = __fmul_rn(weight, h);
  }
  const float sum = tree_sum(lane);
  if (here && threadIdx.x % kLanes == 0) drow[row] = sum;
}

// One chunk's part of the routing.
struct Chunk {
  int64_t begin, end;     // tokens
  int64_t first, n;       // slots
  const int64_t* starts;  // [E + 1], the device's
  int64_t tokens() const { return end - begin; }
};

Chunk chunk_of(const Routing& r, int64_t c) {
  const int64_t begin = c * r.chunk, end = std::min(r.T, begin + r.chunk);
  return {begin, end, begin * r.A, (end - begin) * r.A, r.starts + c * (r.E + 1)};
}

// The experts' matrices as products read them: one transfer of their addresses.
class ExpertList {
 public:
  ExpertList(Context& ctx, const MoeWeights& w) : count_(std::ssize(w.experts)), upload_(ctx) {
    auto* rows = ctx.host().array<const float*>(3 * count_);
    auto* gradients = ctx.host().array<float*>(3 * count_);
    for (int64_t e = 0; e < count_; ++e) {
      const Expert& expert = w.experts[static_cast<size_t>(e)];
      int64_t at = e;
      for (const Weight* matrix : {&expert.gate, &expert.up, &expert.down}) {
        rows[at] = matrix->rows(ctx);
        aligned_ = aligned_ && reinterpret_cast<uintptr_t>(rows[at]) % 16 == 0;
        const Tensor& grad = matrix->dense().grad;
        gradients[at] = grad ? grad.f32() : nullptr;
        at += count_;
      }
    }
    const auto size = static_cast<size_t>(3 * count_);
    rows_ = upload_.add(std::span<const float* const>(rows, size));
    gradients_ = upload_.add(std::span<float* const>(gradients, size));
    upload_.send_constants();
  }
  // Which: 0 gate, 1 up, 2 down.
  ByExpert of(const Chunk& chunk, int which) const {
    return {.count = count_,
            .typical = ceil_div(chunk.n, count_),
            .starts = chunk.starts,
            .weights = upload_.at<const float*>(rows_) + which * count_,
            .gradients = upload_.at<float*>(gradients_) + which * count_,
            .aligned = aligned_};
  }
  ByExpert gradients(const Chunk& chunk, int which) const {
    ByExpert list = of(chunk, which);
    list.rows_are_k = true;
    return list;
  }

 private:
  int64_t count_;
  bool aligned_ = true;
  Upload upload_;
  int rows_ = 0, gradients_ = 0;
};

// out [., N] = the chunk's rows of in [., K] times w^T.
void times_weights(Context& ctx, const Chunk& chunk, const ByExpert& w, const float* in, int64_t K, int64_t N,
                   float* out) {
  products_f32({.M = chunk.tokens(),
                .N = N,
                .K = K,
                .a = {in, K, true},
                .b = {nullptr, K, true},
                .c = out,
                .c_row = N},
               w, ctx.stream);
}

// d_in [., K] = or += the chunk's rows of d_out [., N] times w [N, K].
void times_transposed(Context& ctx, const Chunk& chunk, const ByExpert& w, const float* d_out, int64_t N,
                      int64_t K, float* d_in, bool accumulate) {
  products_f32({.M = chunk.tokens(),
                .N = K,
                .K = N,
                .a = {d_out, N, true},
                .b = {nullptr, K, false},
                .c = d_in,
                .c_row = K,
                .accumulate = accumulate},
               w, ctx.stream);
}

// Gradients of w [N, K] continue with the rows of d_out^T times those of in.
void add_gradients(Context& ctx, const Chunk& chunk, const ByExpert& w, const float* d_out, int64_t N,
                   const float* in, int64_t K) {
  products_f32({.M = N,
                .N = K,
                .K = chunk.tokens(),
                .a = {d_out, N, false},
                .b = {in, K, false},
                .c = nullptr,
                .c_row = K,
                .accumulate = true},
               w, ctx.stream);
}

void experts_backward(Context& ctx, const MoeBackward& call, float* drow) {
  const Routing& r = call.saved.routing;
  const int64_t D = call.saved.x.dim(1), F = call.w.experts[0].gate.N(), most = std::min(r.chunk, r.T) * r.A;
  const ExpertList experts(ctx, call.w);
  float* rows = ctx.arena.array<float>(most * D);  // dy by row, then x, then dx
  float* dh = ctx.arena.array<float>(most * F);    // the gradient of h, then weight * h
  if (ctx.measuring) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  for (int64_t c = 0; c < r.chunks(); ++c) {
    const Chunk chunk = chunk_of(r, c);
    float *gate = call.saved.gate + chunk.first * F, *up = call.saved.up + chunk.first * F;
    const int32_t* tokens = r.tokens + chunk.first;
    gather_rows_f32(call.dy.f32(), tokens, chunk.n, D, rows, ctx.stream);
    times_transposed(ctx, chunk, experts.of(chunk, 2), rows, D, F, dh, false);
    swiglu_rows_backward<<<static_cast<unsigned>(ceil_div(chunk.n, kThreads / kLanes)), kThreads, 0,
                           stream>>>(gate, up, dh, chunk.n, F, r.row_weights + chunk.first,
                                     drow + chunk.first);
    check_launch("moe swiglu backward");
    add_gradients(ctx, chunk, experts.gradients(chunk, 2), rows, D, dh, F);
    gather_rows_f32(call.saved.x.f32(), tokens, chunk.n, D, rows, ctx.stream);
    add_gradients(ctx, chunk, experts.gradients(chunk, 0), gate, F, rows, D);
    add_gradients(ctx, chunk, experts.gradients(chunk, 1), up, F, rows, D);
    if (!call.dx) continue;
    times_transposed(ctx, chunk, experts.of(chunk, 0), gate, F, D, rows, false);
    times_transposed(ctx, chunk, experts.of(chunk, 1), up, F, D, rows, true);
    add_rows<<<static_cast<unsigned>(chunk.tokens()), kThreads, 0, stream>>>(
        rows, r.rows + chunk.first, r.A, D, call.dx.accumulate, call.dx.grad.f32() + chunk.begin * D);
    check_launch("moe dx");
  }
}

}  // namespace

bool moe_keeps_bf16(const Context& ctx, const Tensor&) {
  return tensor_experts(ctx);
}

void moe_forward(Context& ctx, const MoeForward& call) {
  if (tensor_experts(ctx)) return tensor_experts_forward(ctx, call);
  const MoeSaved& saved = call.saved;
  const Routing& r = saved.routing;
  const int64_t D = saved.x.dim(1), F = call.w.experts[0].gate.N(), most = std::min(r.chunk, r.T) * r.A;
  const OpScope scope(ctx);
  const ExpertList experts(ctx, call.w);
  float* rows = ctx.arena.array<float>(most * D);  // x by row, later the experts' outputs
  float* h = ctx.arena.array<float>(most * F);
  if (ctx.measuring) return;
  for (int64_t c = 0; c < r.chunks(); ++c) {
    const Chunk chunk = chunk_of(r, c);
    float* gate = saved.gate + (ctx.tape != nullptr ? chunk.first * F : 0);
    float* up = saved.up + (ctx.tape != nullptr ? chunk.first * F : 0);
    gather_rows_f32(saved.x.f32(), r.tokens + chunk.first, chunk.n, D, rows, ctx.stream);
    times_weights(ctx, chunk, experts.of(chunk, 0), rows, D, F, gate);
    times_weights(ctx, chunk, experts.of(chunk, 1), rows, D, F, up);
    swiglu_f32(gate, up, chunk.n * F, h, ctx.stream);
    times_weights(ctx, chunk, experts.of(chunk, 2), h, F, D, rows);
    combine_rows<<<static_cast<unsigned>(chunk.tokens()), kThreads, 0,
                   static_cast<cudaStream_t>(ctx.stream)>>>(
        rows, r.rows + chunk.first, r.weights + chunk.first, r.A, D, call.y.f32() + chunk.begin * D);
    check_launch("moe combine");
  }
}

void moe_backward(Context& ctx, const MoeBackward& call) {
  const Routing& r = call.saved.routing;
  const Tensor& x = call.saved.x;
  const OpScope scope(ctx);
  ctx.tape->await_turn();
  float* drow = nullptr;
  if (call.dy) {
    drow = ctx.arena.array<float>(r.slots());
    if (tensor_experts(ctx)) {
      tensor_experts_backward(ctx, call, drow);
    } else {
      experts_backward(ctx, call, drow);
    }
  }
  float* dlogits = ctx.arena.array<float>(r.T * r.E);
  route_backward(ctx, call.w.config, r, drow, call.saved.balance, dlogits);
  if (tensor_experts(ctx)) {
    tensor_router_gradient(ctx, call.w.router, dlogits, x);
  } else {
    call.w.router.add_weight_gradient(ctx, dlogits, x.f32(), r.T);
  }
  if (call.dx)
    call.w.router.times_transposed(ctx, dlogits, r.T, call.dx.grad.f32(),
                                   static_cast<bool>(call.dy) || call.dx.accumulate);
}

}  // namespace r1::cuda
