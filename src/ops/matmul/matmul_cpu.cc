// ops/matmul/matmul_cpu.cc: every product here is one gemm; they differ in which matrix is read by rows.
//
//   y   = x W^T    A = x      B = W, packed by the Weight once per version
//   dx  = dy W     A = dy     B = W in place (bf16: widened, rounded like the forward's)
//   dW += dy^T x   A = dy^T   B = x in place; C continues from the gradient held
#include <algorithm>

#include "base/integers.h"
#include "ops/convert/convert.h"
#include "ops/matmul/gemm.h"
#include "ops/matmul/matmul.h"

namespace r1 {

namespace {

// A few thousand elements per chunk: enough to pay for handing it to a thread.
constexpr int64_t kElementsAChunk = 8192;

void add_bias_to_rows(const float* bias, int64_t T, int64_t N, float* y) {
  for (int64_t t = 0; t < T; ++t)
    for (int64_t n = 0; n < N; ++n) y[t * N + n] += bias[n];
}

void add_bias(Context& ctx, const float* bias, int64_t T, int64_t N, float* y) {
  ctx.threads.parallel_for(T, kElementsAChunk / std::max<int64_t>(N, 1) + 1, [=](int64_t begin, int64_t end) {
    add_bias_to_rows(bias, end - begin, N, y + begin * N);
  });
}

// dbias[n] += dy[0, n], then dy[1, n], ...: in order of t, with threads over n.
void add_bias_gradient(Context& ctx, const float* dy, int64_t T, int64_t N, float* dbias) {
  constexpr int64_t kLanes = 32;
  ctx.threads.parallel_for(ceil_div(N, kLanes), 1, [=](int64_t begin, int64_t end) {
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

// Returns g with B = b, row-major [g.K, g.N]: in place (each tile copies what it reads), or, if so many row
// tiles follow that packing B once is cheaper, packed into the arena. Call it inside an ArenaScope.
Gemm with_b(Context& ctx, Gemm g, const float* b) {
  constexpr int64_t kLongRow = 320, kManyRows = 768;
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
                             weight_f32(ctx, dense.value)));
  }
  ctx.tape->await_turn();
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
                             as_f32(ctx, x)));
  }
  if (bias != nullptr && bias->grad) add_bias_gradient(ctx, dy.f32(), T, N, bias->grad.f32());
}

// Packs the matrix, f32 or bf16, into panels of f32 or of pairs of bf16.
void pack_matrix(Context& ctx, const Parameter& dense, const Tensor& panels) {
  const int64_t N = dense.value.dim(0), K = dense.value.dim(1);
  if (panels.dtype == DType::f32) {
    const ArenaScope scope(ctx.arena);
    pack_transposed(ctx.threads, as_f32(ctx, dense.value), N, K, K, panels.f32());
  } else if (dense.value.dtype == DType::bf16) {
    pack_pairs(ctx.threads, dense.value.bf16(), N, K, static_cast<uint32_t*>(panels.data));
  } else {
    pack_pairs(ctx.threads, dense.value.f32(), N, K, static_cast<uint32_t*>(panels.data));
  }
}

}  // namespace

Weight::Weight(Parameter* dense, Parameter* bias) : dense_(dense), bias_(bias) {
  R1_CHECK(dense_ != nullptr);
  const Shape& shape = dense_->value.shape;
  R1_CHECK(shape.rank() == 2, dense_->name, " ", shape.str());
  if (bias_ != nullptr)
    R1_CHECK(bias_->value.shape == Shape({N()}), bias_->name, " ", bias_->value.shape.str());
}

void Weight::pack(Context& ctx) const {
  const DType dtype = ctx.activations();
  const Tensor& held = packed_.tensor();
  if (packed_version_ == dense_->version && held.dtype == dtype) return;
  R1_CHECK(!inside_parallel_for(), dense_->name, " is packed by one thread of several");
  const int64_t panels = ceil_div(N(), kPanel);
  const Shape shape =
      dtype == DType::f32 ? Shape{panels, K(), kPanel} : Shape{panels, pair_rows(K()), kPanel, 2};
  if (!held || held.shape != shape || held.dtype != dtype) packed_ = Buffer(shape, dtype, ctx.memory());
  pack_matrix(ctx, *dense_, packed_.tensor());
  packed_version_ = dense_->version;
}

void Weight::fill_b(Context& ctx, Gemm& g) const {
  pack(ctx);
  g.product = ctx.row().product;
  g.b = static_cast<const float*>(packed_.tensor().data);
  g.b_panel = (ctx.activations() == DType::f32 ? K() : pair_rows(K())) * kPanel;
  g.b_row = kPanel;
}

void matmul_into(Context& ctx, const float* x, int64_t T, const Weight& w, float* y) {
  Gemm g{.M = T, .N = w.N(), .K = w.K(), .a = x, .a_row = w.K(), .c = y, .c_row = w.N()};
  w.fill_b(ctx, g);
  gemm(ctx.threads, g);
  if (w.bias() == nullptr) return;
  const ArenaScope scope(ctx.arena);
  add_bias(ctx, weight_f32(ctx, w.bias()->value), T, w.N(), y);
}

namespace {

// For many rows by a small matrix, in bf16: each thread widens, multiplies and rounds some rows while they
// are in its cache.
constexpr int64_t kBlockRows = 96, kSmallMatrix = int64_t{1} << 19;

bool by_row_blocks(const Context& ctx, const Tensor& x, const Weight& w) {
  return x.dtype == DType::bf16 && w.N() * w.K() <= kSmallMatrix &&
         x.dim(0) >= 2 * kBlockRows * ctx.threads.size();
}

void matmul_by_row_blocks(Context& ctx, const Tensor& x, const Weight& w, const Tensor& y) {
  const ArenaScope scope(ctx.arena);
  const int64_t T = x.dim(0), N = w.N(), K = w.K(), floats = kBlockRows * (K + N);
  float* scratch = ctx.arena.array<float>(floats * ctx.threads.size());
  const float* bias = w.bias() != nullptr ? weight_f32(ctx, w.bias()->value) : nullptr;
  Gemm whole{.N = N, .K = K, .a_row = K, .c_row = N};
  w.fill_b(ctx, whole);
  const int64_t blocks = ceil_div(T, kBlockRows);
  ctx.threads.parallel_for_thread(blocks, 1, [&](int64_t begin, int64_t end, int thread) {
    float* wide = scratch + thread * floats;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t t = block * kBlockRows;
      Gemm g = whole;
      g.M = std::min(kBlockRows, T - t);
      g.a = wide;
      g.c = y.dtype == DType::f32 ? y.f32() + t * N : wide + kBlockRows * K;
      widen(x.bf16() + t * K, g.M * K, wide);
      gemm_serial(g);
      if (bias != nullptr) add_bias_to_rows(bias, g.M, N, g.c);
      if (y.dtype == DType::bf16) narrow(g.c, g.M * N, y.bf16() + t * N);
    }
  });
}

}  // namespace

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w, DType dtype) {
  R1_CHECK(x.shape.rank() == 2 && x.dim(1) == w.K(), w.dense().name, " is ", w.dense().value.shape.str(),
           ", its input ", x.shape.str());
  Tensor y = ctx.output({x.dim(0), w.N()}, dtype);
  if (by_row_blocks(ctx, x, w)) {
    matmul_by_row_blocks(ctx, x, w, y);
  } else {
    const ArenaScope scope(ctx.arena);
    const F32Output out(ctx, y);
    matmul_into(ctx, as_f32(ctx, x), x.dim(0), w, out.data());
    out.store(ctx);
  }
  if (ctx.tape != nullptr) {
    Parameter* dense = &w.dense();
    Parameter* bias = w.bias();
    ctx.tape->record([=](Context& c) { backward(c, x, y, *dense, bias); });
  }
  return y;
}

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w) {
  return matmul(ctx, x, w, ctx.activations());
}

}  // namespace r1
