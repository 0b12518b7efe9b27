// ops/matmul/matmul_cpu.cc: every product here is one gemm; what differs is which matrix is read by rows.
//
//   y  = x W^T:    A = x,    B = W packed by Weight::panels (once a version)
//   dx = dy W:     A = dy,   B = W as it lies
//   dW += dy^T x:  A = dy^T, B = x as it lies, C goes on from the gradient held
#include <algorithm>

#include "ops/matmul/gemm.h"
#include "ops/matmul/matmul.h"

namespace r1 {

namespace {

// A few thousand elements a chunk: enough to pay for handing it to a thread.
constexpr int64_t kElementsAChunk = 8192;

void add_bias(Context& ctx, const float* bias, int64_t T, int64_t N, float* y) {
  ctx.threads.parallel_for(T, kElementsAChunk / std::max<int64_t>(N, 1) + 1, [=](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t n = 0; n < N; ++n) y[t * N + n] += bias[n];
  });
}

// dbias[n] += dy[0, n], += dy[1, n], ...: in order of t, threads over n.
void add_bias_gradient(Context& ctx, const float* dy, int64_t T, int64_t N, float* dbias) {
  constexpr int64_t kLanes = 32;
  ctx.threads.parallel_for((N + kLanes - 1) / kLanes, 1, [=](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t n0 = block * kLanes;
      const int64_t width = std::min(kLanes, N - n0);
      float sum[kLanes] = {};
      std::copy_n(dbias + n0, width, sum);
      for (int64_t t = 0; t < T; ++t) {
        const float* row = dy + t * N + n0;
        if (width == kLanes) {
          for (int64_t i = 0; i < kLanes; ++i) sum[i] += row[i];
        } else {
          for (int64_t i = 0; i < width; ++i) sum[i] += row[i];
        }
      }
      std::copy_n(sum, width, dbias + n0);
    }
  });
}

// g with B = b, row-major [g.K, g.N]: as it lies, or, where B's rows are so long that the rows of a panel
// share cache sets, and enough rows of A follow to pay for it, packed into the arena. Call inside an
// ArenaScope.
Gemm with_b(Context& ctx, Gemm g, const float* b) {
  constexpr int64_t kLongRow = 320, kManyRows = 64;
  g.b = b;
  g.b_panel = kPanel;
  g.b_row = g.N;
  if (g.N >= kLongRow && g.M >= kManyRows) {
    float* panels = ctx.arena.array<float>(panels_floats(g.N, g.K));
    pack_rows(ctx.threads, b, g.K, g.N, g.N, panels);
    g.b = panels;
    g.b_panel = g.K * kPanel;
    g.b_row = kPanel;
  }
  return g;
}

void backward(Context& ctx, const Tensor& x, const Tensor& y, Parameter& dense, Parameter* bias) {
  const Tensor dy = ctx.tape->grad(y);
  if (!dy) return;
  const int64_t T = y.dim(0), N = dense.value.dim(0), K = dense.value.dim(1);
  if (const GradSlot dx = ctx.tape->slot(x)) {
    const ArenaScope scope(ctx.arena);
    gemm(ctx.threads, with_b(ctx,
                             {.M = T,
                              .N = K,
                              .K = N,
                              .a = dy.f32(),
                              .a_row = N,
                              .c = dx.grad.f32(),
                              .c_row = K,
                              .accumulate = dx.accumulate},
                             dense.value.f32()));
  }
  if (dense.grad) {
    const ArenaScope scope(ctx.arena);
    gemm(ctx.threads, with_b(ctx,
                             {.M = N,
                              .N = K,
                              .K = T,
                              .a = dy.f32(),
                              .a_row = 1,
                              .a_col = N,
                              .c = dense.grad.f32(),
                              .c_row = K,
                              .accumulate = true},
                             x.f32()));
  }
  if (bias != nullptr && bias->grad) add_bias_gradient(ctx, dy.f32(), T, N, bias->grad.f32());
}

}  // namespace

Weight::Weight(Parameter* dense, Parameter* bias) : dense_(dense), bias_(bias) {
  R1_CHECK(dense_ != nullptr);
  const Shape& shape = dense_->value.shape;
  R1_CHECK(shape.rank() == 2, dense_->name, " ", shape.str());
  if (bias_ != nullptr)
    R1_CHECK(bias_->value.shape == Shape({N()}), bias_->name, " ", bias_->value.shape.str());
}

const float* Weight::panels(Context& ctx) const {
  if (packed_version_ != dense_->version) {
    const Shape shape{(N() + kPanel - 1) / kPanel, K(), kPanel};
    if (!packed_.tensor() || packed_.tensor().shape != shape) packed_ = Buffer(shape, DType::f32);
    pack_transposed(ctx.threads, dense_->value.f32(), N(), K(), K(), packed_.tensor().f32());
    packed_version_ = dense_->version;
  }
  return packed_.tensor().f32();
}

void matmul_into(Context& ctx, const float* x, int64_t T, const Weight& w, float* y) {
  gemm(ctx.threads, {.M = T,
                     .N = w.N(),
                     .K = w.K(),
                     .a = x,
                     .a_row = w.K(),
                     .b = w.panels(ctx),
                     .b_panel = w.K() * kPanel,
                     .b_row = kPanel,
                     .c = y,
                     .c_row = w.N()});
  if (w.bias() != nullptr) add_bias(ctx, w.bias()->value.f32(), T, w.N(), y);
}

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w) {
  R1_CHECK(x.shape.rank() == 2 && x.dim(1) == w.K(), w.dense().name, " is ", w.dense().value.shape.str(),
           ", its input ", x.shape.str());
  Tensor y = ctx.output({x.dim(0), w.N()});
  matmul_into(ctx, x.f32(), x.dim(0), w, y.f32());
  if (ctx.tape != nullptr) {
    Parameter* dense = &w.dense();
    Parameter* bias = w.bias();
    ctx.tape->record([=](Context& c) { backward(c, x, y, *dense, bias); });
  }
  return y;
}

}  // namespace r1
