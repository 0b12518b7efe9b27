// ops/matmul/matmul_cpu.cc: every product here is one gemm; they differ in which matrix is read by rows.
//
//   y   = x W^T    A = x      B = W, packed by the Weight once per version
//   dx  = dy W     A = dy     B = W in place (bf16: widened, rounded like the forward's), or in tiles that are
//                             unpacked (frozen)
//   dW += dy^T x   A = dy^T   B = x in place; C continues from the gradient held
#include <algorithm>

#include "base/integers.h"
#include "ops/convert/convert.h"
#include "ops/matmul/gemm.h"
#include "ops/matmul/matmul_backend.h"
#include "ops/matmul/products.h"

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
// tiles follow that packing B once is cheaper, packed into the arena. Call it inside an OpScope.
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

// The columns of dx that a tile of the dequantised matrix adds at a time are all of them; its rows are these.
constexpr int64_t kTileElements = int64_t{1} << 21;

void add_transposed(Context& ctx, const WeightTransposed& call, int64_t first, int64_t count,
                    const float* rows, bool accumulate) {
  const Gemm g = with_b(ctx,
                        {.M = call.T,
                         .N = call.w->K(),
                         .K = count,
                         .a = call.dy + first,
                         .a_row = call.w->N(),
                         .c = call.dx,
                         .c_row = call.w->K(),
                         .accumulate = accumulate},
                        rows);
  if (!ctx.measuring) gemm(ctx.threads, g);
}

}  // namespace

namespace {

// For many rows by a small matrix, in bf16: each thread widens, multiplies and rounds some rows while they
// are in its cache.
constexpr int64_t kBlockRows = 96, kSmallMatrix = int64_t{1} << 19;

bool by_row_blocks(const Context& ctx, const Tensor& x, const Weight& w) {
  return x.dtype == DType::bf16 && w.N() * w.K() <= kSmallMatrix &&
         x.dim(0) >= 2 * kBlockRows * ctx.threads.size();
}

void matmul_by_row_blocks(Context& ctx, const Tensor& x, const Weight& w, const Tensor& y) {
  const OpScope scope(ctx);
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

namespace cpu {

void times(Context& ctx, const WeightProduct& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  ProductList list(ctx, 1);
  list.add({.w = &w, .x = call.x, .M = call.T, .y = call.y});
  list.run();
  if (w.bias() == nullptr) return;
  add_bias(ctx, weight_f32(ctx, w.bias()->value), call.T, w.N(), call.y);
}

void matmul_forward(Context& ctx, const MatmulForward& call) {
  if (by_row_blocks(ctx, call.x, *call.w)) return matmul_by_row_blocks(ctx, call.x, *call.w, call.y);
  const OpScope scope(ctx);
  const F32Output out(ctx, call.y);
  times(ctx, {.w = call.w, .x = as_f32(ctx, call.x), .T = call.x.dim(0), .y = out.data()});
  out.store(ctx);
}

void times_transposed(Context& ctx, const WeightTransposed& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  if (!w.dense().frozen())
    return add_transposed(ctx, call, 0, w.N(), weight_f32(ctx, w.dense().value), call.accumulate);
  // dx walks n in order over the tiles: resting in memory between them rounds nothing.
  const int64_t K = w.K(), most = std::max<int64_t>(1, kTileElements / std::max<int64_t>(K, 1));
  float* tile = ctx.arena.array<float>(std::min(most, w.N()) * K);
  for (int64_t n = 0; n < w.N(); n += most) {
    const OpScope inner(ctx);
    const int64_t count = std::min(most, w.N() - n);
    w.dequantise(ctx, n, count, tile);
    add_transposed(ctx, call, n, count, tile, call.accumulate || n > 0);
  }
}

void add_weight_gradient(Context& ctx, const WeightGradient& call) {
  const Weight& w = *call.w;
  const int64_t N = w.N(), K = w.K();
  if (const Tensor& grad = w.dense().grad) {
    const OpScope scope(ctx);
    const Gemm g = with_b(ctx,
                          {.M = N,
                           .N = K,
                           .K = call.T,
                           .a = call.dy,
                           .a_row = 1,
                           .a_col = N,
                           .c = grad.f32(),
                           .c_row = K,
                           .accumulate = true},
                          call.x);
    if (!ctx.measuring) gemm(ctx.threads, g);
  }
  const Parameter* bias = w.bias();
  if (bias != nullptr && bias->grad) add_bias_gradient(ctx, call.dy, call.T, N, bias->grad.f32());
}

void matmul_backward(Context& ctx, const MatmulBackward& call) {
  const int64_t T = call.x.dim(0);
  const float* dy = call.dy.f32();
  if (call.dx) {
    times_transposed(
        ctx, {.w = call.w, .dy = dy, .T = T, .dx = call.dx.grad.f32(), .accumulate = call.dx.accumulate});
  }
  ctx.tape->await_turn();
  const OpScope scope(ctx);
  const float* x = call.w->dense().grad ? as_f32(ctx, call.x) : nullptr;
  add_weight_gradient(ctx, {.w = call.w, .dy = dy, .x = x, .T = T});
}

}  // namespace cpu
}  // namespace r1
