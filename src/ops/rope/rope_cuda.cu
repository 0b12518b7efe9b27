// ops/rope/rope_cuda.cu: rotary position embedding on a CUDA device. One thread turns one pair or moves two
// of the floats that stay:
//
//   y0 = fma(x0, c, -(x1 * s)),   y1 = fma(x1, c, x0 * s),   s with its sign
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/rope/rope_backend.h"
#include "ops/rope/rope_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {

static_assert(kRopeBlock == RopeTable::kBlock);

namespace {

constexpr int kThreads = 256;

// `items` threads per head: P / 2 pairs, then the still floats, two each.
template <bool kAdd>
__global__ void __launch_bounds__(kThreads) turn_pairs(RopeRows r, int items) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t head = at / items;
  const int item = static_cast<int>(at - head * items), pairs = static_cast<int>(r.P / 2);
  if (head >= r.T * r.H) return;
  const float* x = r.x + head * r.x_head;
  float* y = r.y + head * r.y_head;
  const auto put = [](float* to, float value) { *to = kAdd ? __fadd_rn(*to, value) : value; };
  if (item >= pairs) {
    const int64_t k = 2 * static_cast<int64_t>(item - pairs);
    put(y + k, x[k]);
    if (k + 1 < r.still) put(y + k + 1, x[k + 1]);
    return;
  }
  const int64_t position = r.positions[head / r.H];
  const float* cosines = r.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) * pairs;
  const float c = cosines[item];
  const float sine = cosines[kRopeBlock * pairs + item];
  const float s = r.back ? -sine : sine;
  const int64_t first = r.still + (r.interleaved ? 2 * item : item);
  const int64_t second = first + (r.interleaved ? 1 : pairs);
  const float x0 = x[first], x1 = x[second];
  put(y + first, __fmaf_rn(x0, c, -__fmul_rn(x1, s)));
  put(y + second, __fmaf_rn(x1, c, __fmul_rn(x0, s)));
}

}  // namespace

void rope_rows(const RopeRows& rows, void* stream) {
  const int64_t items = rows.P / 2 + (rows.still + 1) / 2, heads = rows.T * rows.H;
  if (items == 0 || heads == 0) return;
  const auto blocks = static_cast<unsigned>((heads * items + kThreads - 1) / kThreads);
  const auto kernel = rows.add ? turn_pairs<true> : turn_pairs<false>;
  kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(rows, static_cast<int>(items));
  check_launch("rope_rows");
}

namespace {

// Turns x [T, H, K] into y. Positions and table are on the host.
void turn(Context& ctx, const Rotary& rotary, const Tensor& x, const Tensor& y, bool back, bool add) {
  const OpScope scope(ctx);
  const int64_t T = x.dim(0), H = x.dim(1), K = x.dim(2);
  auto* positions = ctx.arena.array<int32_t>(T);
  if (ctx.measuring || T == 0) return;
  ctx.memory().write(positions, rotary.positions.data(), rotary.positions.size_bytes(), ctx.stream);
  const int64_t count = 1 + *std::max_element(rotary.positions.begin(), rotary.positions.end());
  rope_rows({.x = x.f32(),
             .x_head = K,
             .y = y.f32(),
             .y_head = K,
             .T = T,
             .H = H,
             .still = K - rotary.width(),
             .P = rotary.width(),
             .positions = positions,
             .table = rotary.table->copy_in(ctx.memory(), count, ctx.stream),
             .interleaved = rotary.style == RopeStyle::interleaved,
             .back = back,
             .add = add},
            ctx.stream);
}

}  // namespace

void rope_forward(Context& ctx, const RopeForward& call) {
  turn(ctx, call.rotary, call.x, call.y, false, false);
}

void rope_backward(Context& ctx, const RopeBackward& call) {
  turn(ctx, call.rotary, call.dy, call.dx.grad, true, call.dx.accumulate);
}

}  // namespace r1::cuda
