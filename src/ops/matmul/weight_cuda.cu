// ops/matmul/weight_cuda.cu: a Weight on a CUDA device: rows in f32, and the products that read them.
//
// A frozen matrix is read from its file in pieces that pass through the host's memory.
#include <algorithm>
#include <span>
#include <vector>

#include "ops/elementwise/elementwise_cuda.h"
#include "ops/matmul/matmul_backend.h"
#include "ops/matmul/matmul_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int64_t kPiece = int64_t{1} << 22;  // elements

// Elements [first, first + to.size()) as a loaded parameter has them: rounded to its type.
void read_piece(const Parameter& p, int64_t first, std::span<float> to) {
  p.stored.read(first, to);
  if (p.value.dtype != DType::bf16) return;
  for (float& v : to) v = f32_from_bf16(bf16_from_f32(v));
}

const float* bias_of(const Weight& w) {
  return w.bias() != nullptr ? w.bias()->value.f32() : nullptr;
}

}  // namespace

void read_rows(Context& ctx, const ReadRows& call) {
  if (ctx.measuring) return;
  const int64_t count = call.rows.count();
  std::vector<float> piece(static_cast<size_t>(std::min(count, kPiece)));
  for (int64_t at = 0; at < count; at += kPiece) {
    const auto part = std::span(piece).first(static_cast<size_t>(std::min(kPiece, count - at)));
    read_piece(*call.dense, at, part);
    ctx.memory().write(call.rows.f32() + at, part.data(), part.size_bytes());  // any stream may read it
  }
}

void copy_rows(Context& ctx, const CopyRows& call) {
  const OpScope scope(ctx);
  const int64_t n = call.count;
  const float* rows = call.held.f32();
  if (call.indices.empty()) {
    const size_t bytes = static_cast<size_t>(n * call.K) * sizeof(float);
    if (!ctx.measuring) ctx.memory().copy(call.to, rows + call.first * call.K, bytes, ctx.stream);
    return;
  }
  auto* indices = ctx.arena.array<int32_t>(n);
  if (ctx.measuring) return;
  ctx.memory().write(indices, call.indices.data(), call.indices.size_bytes(), ctx.stream);
  gather_rows_f32(rows, indices, n, call.K, call.to, ctx.stream);
}

void times(Context& ctx, const WeightProduct& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  const float* rows = w.rows(ctx);
  if (ctx.measuring) return;
  matmul_f32(call.x, call.T, rows, w.N(), w.K(), bias_of(w), call.y, ctx.stream);
}

void times_transposed(Context& ctx, const WeightTransposed& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  const float* rows = w.rows(ctx);
  if (ctx.measuring) return;
  matmul_dx_f32(call.dy, call.T, rows, w.N(), w.K(), call.accumulate, call.dx, ctx.stream);
}

void add_weight_gradient(Context& ctx, const WeightGradient& call) {
  if (ctx.measuring) return;
  const Weight& w = *call.w;
  if (const Tensor& grad = w.dense().grad)
    matmul_dw_f32(call.x, call.dy, call.T, w.N(), w.K(), grad.f32(), ctx.stream);
  if (w.bias() != nullptr && w.bias()->grad)
    matmul_dbias_f32(call.dy, call.T, w.N(), w.bias()->grad.f32(), ctx.stream);
}

void matmul_forward(Context& ctx, const MatmulForward& call) {
  times(ctx, {.w = call.w, .x = call.x.f32(), .T = call.x.dim(0), .y = call.y.f32()});
}

void matmul_backward(Context& ctx, const MatmulBackward& call) {
  const int64_t T = call.x.dim(0);
  const float* dy = call.dy.f32();
  if (call.dx) {
    times_transposed(
        ctx, {.w = call.w, .dy = dy, .T = T, .dx = call.dx.grad.f32(), .accumulate = call.dx.accumulate});
  }
  ctx.tape->await_turn();
  add_weight_gradient(ctx, {.w = call.w, .dy = dy, .x = call.x.f32(), .T = T});
}

}  // namespace r1::cuda
