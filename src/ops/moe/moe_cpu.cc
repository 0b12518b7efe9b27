// ops/moe/moe_cpu.cc: the experts on the CPU: gather by expert, three grouped products, combine; and the
// backward.
//
// Work goes chunk by chunk (route.h). Rows are sorted by expert, then token, so that each expert's products
// are plain matrix products over consecutive rows and its weight gradients walk t in order.
//
// Memory: gate and up of all A T rows are kept for the backward; h (one exp per element) is computed again,
// and x is gathered again. Scratch is for one chunk: D + F floats per row, without a tape D + 3 F. In the
// backward the gradients of gate and up take the place of gate and up.
#include <algorithm>
#include <new>

#include "ops/convert/convert.h"
#include "ops/matmul/gemm.h"
#include "ops/matmul/products.h"
#include "ops/moe/moe_backend.h"
#include "ops/moe/moe_kernels.h"
#include "ops/swiglu/swiglu.h"

namespace r1::cpu {
namespace {

// Rows that a thread takes at a time: about 64 KiB, whatever the width.
int64_t rows_grain(int64_t width) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width));
}

// One chunk's part of the routing: n rows of its slots, from slot `first` on.
struct Chunk {
  int64_t begin, end;  // tokens
  int64_t first, n;
  const int64_t* starts;  // [E + 1]
  int64_t count(int64_t e) const { return starts[e + 1] - starts[e]; }
};

Chunk chunk_of(const Routing& r, int64_t c) {
  const int64_t begin = c * r.chunk, end = std::min(r.T, begin + r.chunk);
  return {begin, end, begin * r.A, (end - begin) * r.A, r.starts + c * (r.E + 1)};
}

// in [T, D] -> out [n, D] by row.
void gather_by_row(Context& ctx, const Routing& r, const Chunk& chunk, const float* in, int64_t D,
                   float* out) {
  ctx.threads.parallel_for(chunk.n, rows_grain(D), [&](int64_t begin, int64_t end) {
    moe_kernels::gather(in, r.tokens + chunk.first, begin, end, D, out);
  });
}

// A list of products in the host arena, at most two per expert.
class GemmList {
 public:
  GemmList(Context& ctx, int64_t limit) : list_(ctx.host().array<Gemm>(limit)) {}
  void add(const Gemm& g) { new (list_ + count_++) Gemm(g); }
  void run(Context& ctx) {
    gemm_batch(ctx.threads, {list_, static_cast<size_t>(count_)});
    count_ = 0;
  }

 private:
  Gemm* list_;
  int64_t count_ = 0;
};

// Multiplies rows [first, first + count) of in [., K] by w^T into the same rows of out [., N].
PlainProduct times_weight(const Context& ctx, const Chunk& chunk, int64_t e, const float* in, const Weight& w,
                          float* out) {
  const int64_t first = chunk.starts[e];
  if (ctx.inputs != nullptr && !ctx.measuring)
    ctx.inputs->see(w.dense().name, 0, 1, in + first * w.K(), chunk.count(e), w.K(), w.K());
  return {.w = &w, .x = in + first * w.K(), .M = chunk.count(e), .y = out + first * w.N()};
}

// Multiplies rows of d_out [., N] by w into d_in [., K]. May take scratch from the arena.
Gemm times_transposed(Context& ctx, const Chunk& chunk, int64_t e, const float* d_out, const Weight& w,
                      float* d_in, bool accumulate) {
  const int64_t first = chunk.starts[e];
  return {.M = chunk.count(e),
          .N = w.K(),
          .K = w.N(),
          .a = d_out + first * w.N(),
          .a_row = w.N(),
          .b = w.rows(ctx),
          .b_panel = kPanel,
          .b_row = w.K(),
          .c = d_in + first * w.K(),
          .c_row = w.K(),
          .accumulate = accumulate};
}

// w.grad += rows of d_out^T times rows of in, with rows (tokens) in order, continuing from what it held.
void add_weight_gradient(GemmList& list, const Chunk& chunk, int64_t e, const float* d_out, const float* in,
                         const Weight& w) {
  if (!w.dense().grad) return;
  const int64_t first = chunk.starts[e];
  list.add({.M = w.N(),
            .N = w.K(),
            .K = chunk.count(e),
            .a = d_out + first * w.N(),
            .a_row = 1,
            .a_col = w.N(),
            .b = in + first * w.K(),
            .b_panel = kPanel,
            .b_row = w.K(),
            .c = w.dense().grad.f32(),
            .c_row = w.K(),
            .accumulate = true});
}

// State that all chunks share in the backward of the experts.
struct ExpertsBackward {
  Context& ctx;
  const MoeWeights& w;
  const MoeSaved& saved;
  const float* dy;
  float* drow;         // [A T] by chunk and row: the gradients of the slots' weights
  const GradSlot& dx;  // assigned or added to, if needed
  float* rows;         // [rows of a chunk, D] dy by row, then x, then dx
  float* dh;           // [rows of a chunk, F] the gradient of h, then weight * h
  GemmList& list;
};

void chunk_backward(const ExpertsBackward& b, const Chunk& chunk) {
  const Routing& r = b.saved.routing;
  const int64_t D = b.saved.x.dim(1), F = b.w.experts[0].gate.N();
  float *rows = b.rows, *dh = b.dh, *gate = b.saved.gate + chunk.first * F,
        *up = b.saved.up + chunk.first * F;
  GemmList& list = b.list;
  const bool round_h = b.ctx.activations() == DType::bf16;
  const auto each = [&](const auto& add) {
    const OpScope scope(b.ctx);
    for (int64_t e = 0; e < r.E; ++e) {
      if (chunk.count(e) > 0) add(e, b.w.experts[static_cast<size_t>(e)]);
    }
    list.run(b.ctx);
  };

  gather_by_row(b.ctx, r, chunk, b.dy, D, rows);
  each([&](int64_t e, const Expert& expert) {
    list.add(times_transposed(b.ctx, chunk, e, rows, expert.down, dh, false));
  });
  b.ctx.threads.parallel_for(chunk.n, rows_grain(3 * F), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      b.drow[chunk.first + i] = moe_kernels::swiglu_row_backward(gate + i * F, up + i * F, dh + i * F, F,
                                                                 r.row_weights[chunk.first + i], round_h);
    }
  });
  each([&](int64_t e, const Expert& expert) { add_weight_gradient(list, chunk, e, rows, dh, expert.down); });

  gather_by_row(b.ctx, r, chunk, b.saved.x.f32(), D, rows);
  each([&](int64_t e, const Expert& expert) {
    add_weight_gradient(list, chunk, e, gate, rows, expert.gate);
    add_weight_gradient(list, chunk, e, up, rows, expert.up);
  });

  if (!b.dx) return;
  each([&](int64_t e, const Expert& expert) {
    list.add(times_transposed(b.ctx, chunk, e, gate, expert.gate, rows, false));
  });
  each([&](int64_t e, const Expert& expert) {
    list.add(times_transposed(b.ctx, chunk, e, up, expert.up, rows, true));
  });
  b.ctx.threads.parallel_for(chunk.end - chunk.begin, rows_grain(r.A * D), [&](int64_t begin, int64_t end) {
    moe_kernels::add_rows(rows, r.rows + chunk.first, begin, end, r.A, D, b.dx.accumulate,
                          b.dx.grad.f32() + chunk.begin * D);
  });
}

void experts_backward(Context& ctx, const MoeBackward& call, float* drow) {
  const Routing& r = call.saved.routing;
  const int64_t most = std::min(r.chunk, r.T) * r.A;
  GemmList list(ctx, 2 * r.E);
  const ExpertsBackward b{ctx,
                          call.w,
                          call.saved,
                          call.dy.f32(),
                          drow,
                          call.dx,
                          ctx.arena.array<float>(most * call.saved.x.dim(1)),
                          ctx.arena.array<float>(most * call.w.experts[0].gate.N()),
                          list};
  for (int64_t c = 0; c < r.chunks(); ++c) chunk_backward(b, chunk_of(r, c));
}

// Continues the router's gradient (over dlogits [T, E], t in order) and dx (e in order).
void router_backward(Context& ctx, const Tensor& x, const Weight& router, const Routing& r,
                     const float* dlogits, const GradSlot& dx, bool onto_dx) {
  const int64_t D = x.dim(1);
  if (router.dense().grad) {
    gemm(ctx.threads, {.M = r.E,
                       .N = D,
                       .K = r.T,
                       .a = dlogits,
                       .a_row = 1,
                       .a_col = r.E,
                       .b = x.f32(),
                       .b_panel = kPanel,
                       .b_row = D,
                       .c = router.dense().grad.f32(),
                       .c_row = D,
                       .accumulate = true});
  }
  if (dx) {
    gemm(ctx.threads, {.M = r.T,
                       .N = D,
                       .K = r.E,
                       .a = dlogits,
                       .a_row = r.E,
                       .b = router.rows(ctx),
                       .b_panel = kPanel,
                       .b_row = D,
                       .c = dx.grad.f32(),
                       .c_row = D,
                       .accumulate = onto_dx});
  }
}

}  // namespace

void moe_forward(Context& ctx, const MoeForward& call) {
  const MoeSaved& saved = call.saved;
  const Routing& r = saved.routing;
  const std::vector<Expert>& experts = call.w.experts;
  const int64_t D = saved.x.dim(1), F = experts[0].gate.N(), most = std::min(r.chunk, r.T) * r.A;
  const OpScope scope(ctx);
  float* rows = ctx.arena.array<float>(most * D);  // x by row, later the experts' outputs
  float* h = ctx.arena.array<float>(most * F);
  ProductList list(ctx, 2 * r.E);
  const auto round = [&ctx](float* values, int64_t n) {
    if (ctx.activations() == DType::bf16) round_to_bf16(ctx.threads, values, n, values);
  };
  for (int64_t c = 0; c < r.chunks(); ++c) {
    const Chunk chunk = chunk_of(r, c);
    float* gate = saved.gate + (ctx.tape != nullptr ? chunk.first * F : 0);
    float* up = saved.up + (ctx.tape != nullptr ? chunk.first * F : 0);
    gather_by_row(ctx, r, chunk, saved.x.f32(), D, rows);
    for (int64_t e = 0; e < r.E; ++e) {
      if (chunk.count(e) == 0) continue;
      const Expert& expert = experts[static_cast<size_t>(e)];
      list.add(times_weight(ctx, chunk, e, rows, expert.gate, gate));
      list.add(times_weight(ctx, chunk, e, rows, expert.up, up));
    }
    list.run();
    round(gate, chunk.n * F);
    round(up, chunk.n * F);
    swiglu_into(ctx.threads, gate, up, chunk.n * F, h);
    round(h, chunk.n * F);
    for (int64_t e = 0; e < r.E; ++e) {
      if (chunk.count(e) == 0) continue;
      list.add(times_weight(ctx, chunk, e, h, experts[static_cast<size_t>(e)].down, rows));
    }
    list.run();
    float* y = call.y.f32() + chunk.begin * D;
    ctx.threads.parallel_for(chunk.end - chunk.begin, rows_grain(r.A * D), [&](int64_t begin, int64_t end) {
      moe_kernels::combine(rows, r.rows + chunk.first, r.weights + chunk.first, begin, end, r.A, D, y);
    });
  }
}

void moe_backward(Context& ctx, const MoeBackward& call) {
  const Routing& r = call.saved.routing;
  const OpScope scope(ctx);
  ctx.tape->await_turn();
  float* drow = nullptr;
  if (call.dy) {
    drow = ctx.arena.array<float>(r.slots());
    experts_backward(ctx, call, drow);
  }
  float* dlogits = ctx.arena.array<float>(r.T * r.E);
  route_backward(ctx, call.w.config, r, drow, call.saved.balance, dlogits);
  router_backward(ctx, call.saved.x, call.w.router, r, dlogits, call.dx,
                  static_cast<bool>(call.dy) || call.dx.accumulate);
}

}  // namespace r1::cpu
