// ops/rope/rope_cuda.cu: rotary position embedding on a CUDA device. One thread turns one pair or moves two
// of the floats that stay:
//
//   y0 = fma(x0, c, -(x1 * s)),   y1 = fma(x1, c, x0 * s),   s with its sign
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/rope/rope_backend.h"
#include "ops/rope/rope_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {

static_assert(kRopeBlock == RopeTable::kBlock);

namespace {

constexpr int kThreads = 256;

// `items` threads per head: P / 2 pairs, then the still floats, two each.
template <bool kAdd, class V>
__global__ void __launch_bounds__(kThreads) turn_pairs(RopeRows r, int items) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t head = at / items;
  const int item = static_cast<int>(at - head * items), pairs = static_cast<int>(r.P / 2);
  if (head >= r.T * r.H) return;
  const V* x = static_cast<const V*>(r.x) + head * r.x_head;
  V* y = static_cast<V*>(r.y) + head * r.y_head;
  const auto put = [](V* to, float value) { put_f32(to, kAdd ? __fadd_rn(to_f32(*to), value) : value); };
  if (item >= pairs) {
    const int64_t k = 2 * static_cast<int64_t>(item - pairs);
    put(y + k, to_f32(x[k]));
    if (k + 1 < r.still) put(y + k + 1, to_f32(x[k + 1]));
    return;
  }
  const int64_t position = max(r.positions[head / r.H], 0);  // -1: a row that is not there
  const float* cosines = r.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) * pairs;
  const float c = cosines[item];
  const float sine = cosines[kRopeBlock * pairs + item];
  const float s = r.back ? -sine : sine;
  const int64_t first = r.still + (r.interleaved ? 2 * item : item);
  const int64_t second = first + (r.interleaved ? 1 : pairs);
  const float x0 = to_f32(x[first]), x1 = to_f32(x[second]);
  put(y + first, __fmaf_rn(x0, c, -__fmul_rn(x1, s)));
  put(y + second, __fmaf_rn(x1, c, __fmul_rn(x0, s)));
}

}  // namespace

void rope_rows(const RopeRows& rows, void* stream) {
  const int64_t items = rows.P / 2 + (rows.still + 1) / 2, heads = rows.T * rows.H;
  if (items == 0 || heads == 0) return;
  const auto blocks = static_cast<unsigned>((heads * items + kThreads - 1) / kThreads);
  R1_CHECK(!rows.bf16 || !rows.add, "a sum in bf16");
  const auto kernel = rows.bf16  ? turn_pairs<false, uint16_t>
                      : rows.add ? turn_pairs<true, float>
                                 : turn_pairs<false, float>;
  kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(rows, static_cast<int>(items));
  check_launch("rope_rows");
}

namespace {

// Fills in what follows from `rotary` and turns. Positions and table are on the host.
void turn(Context& ctx, const Rotary& rotary, RopeRows rows) {
  const OpScope scope(ctx);
  rows.T = std::ssize(rotary.positions);
  rows.P = rotary.width();
  rows.interleaved = rotary.style == RopeStyle::interleaved;
  rows.positions = on_device(ctx, rotary.positions);
  if (ctx.measuring || rows.T == 0) return;
  const int64_t count = 1 + *std::max_element(rotary.positions.begin(), rotary.positions.end());
  rows.table = rotary.table->copy_in(ctx.memory(), count);
  rope_rows(rows, ctx.stream);
}

// x and y [T, H, K].
RopeRows whole_heads(const Rotary& rotary, const Tensor& x, const Tensor& y) {
  const int64_t K = x.dim(2);
  return {.x = x.data,
          .x_head = K,
          .y = y.data,
          .y_head = K,
          .H = x.dim(1),
          .still = K - rotary.width(),
          .bf16 = x.dtype == DType::bf16};
}

}  // namespace

void rope_heads(Context& ctx, const Rotary& rotary, const RopeHeads& heads) {
  turn(ctx, rotary,
       {.x = heads.x,
        .x_head = heads.x_head,
        .y = heads.y,
        .y_head = heads.y_head,
        .H = heads.H,
        .back = heads.back,
        .add = heads.add});
}

void rope_forward(Context& ctx, const RopeForward& call) {
  turn(ctx, call.rotary, whole_heads(call.rotary, call.x, call.y));
}

void rope_backward(Context& ctx, const RopeBackward& call) {
  RopeRows rows = whole_heads(call.rotary, call.dy, call.dx.grad);
  rows.back = true;
  rows.add = call.dx.accumulate;
  turn(ctx, call.rotary, rows);
}

}  // namespace r1::cuda
