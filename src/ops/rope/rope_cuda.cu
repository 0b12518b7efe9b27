// ops/rope/rope_cuda.cu: rotary position embedding on a CUDA device:
//
//   y0 = fma(x0, c, -(x1 * s)),   y1 = fma(x1, c, x0 * s),   s with its sign
//
// A thread turns kPairs neighbouring pairs of a few heads, so that sines and cosines are read once for all of them. If
// the shapes do not allow that, a thread turns one pair, or moves two of the floats that stay.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/rope/rope_backend.h"
#include "ops/rope/rope_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "ops/simd/vectors_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {

static_assert(kRopeBlock == RopeTable::kBlock);

namespace {

constexpr int kThreads = 256;

constexpr int kPairs = 8;
constexpr int kHeads = 4;

// T * `groups` threads turn heads [kHeads * blockIdx.y, ...): group g of a head is its pairs from kPairs * g on.
template <bool kAdd, bool kInterleaved, class X, class Y>
__global__ void __launch_bounds__(kThreads) turn_groups(RopeRows r, int groups) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t t = at / groups;
  if (t >= r.T) return;
  const int pairs = static_cast<int>(r.P / 2), pair = static_cast<int>(at - t * groups) * kPairs;
  const int64_t position = max(r.positions[t], 0);  // -1: a row that is not there
  const float* cosines =
      r.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) * pairs + pair;
  float c[kPairs], s[kPairs];
  load_neighbours(cosines, c);
  load_neighbours(cosines + kRopeBlock * pairs, s);
#pragma unroll
  for (int i = 0; i < kPairs; ++i) s[i] = r.back ? -s[i] : s[i];
  // The first and the second of each pair, or, interleaved, the first and the last four pairs.
  const int64_t one = kInterleaved ? 2 * pair : pair, two = kInterleaved ? one + kPairs : one + pairs;
  const auto place = [](int i, int second) {
    return kInterleaved ? 2 * i + second : i + kPairs * second;  // of 2 kPairs values
  };
  const int64_t first = int64_t{kHeads} * blockIdx.y;
  const int count = static_cast<int>(min(int64_t{kHeads}, r.H - first));
  const X* x = static_cast<const X*>(r.x) + (t * r.H + first) * r.x_head;
  Y* y = static_cast<Y*>(r.y) + (t * r.H + first) * r.y_head;
  float lower[kHeads][kPairs], upper[kHeads][kPairs];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {  // all are on their way before the first is needed
    if (h >= count) continue;
    load_neighbours(x + h * r.x_head + one, lower[h]);
    load_neighbours(x + h * r.x_head + two, upper[h]);
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h >= count) continue;
    const auto at_place = [&](int i) -> float& { return i < kPairs ? lower[h][i] : upper[h][i - kPairs]; };
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const float x0 = at_place(place(i, 0)), x1 = at_place(place(i, 1));
      at_place(place(i, 0)) = __fmaf_rn(x0, c[i], -__fmul_rn(x1, s[i]));
      at_place(place(i, 1)) = __fmaf_rn(x1, c[i], __fmul_rn(x0, s[i]));
    }
    if constexpr (kAdd) {
      float held_lower[kPairs], held_upper[kPairs];
      load_neighbours(y + h * r.y_head + one, held_lower);
      load_neighbours(y + h * r.y_head + two, held_upper);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        lower[h][i] = __fadd_rn(held_lower[i], lower[h][i]);
        upper[h][i] = __fadd_rn(held_upper[i], upper[h][i]);
      }
    }
    store_neighbours(y + h * r.y_head + one, lower[h]);
    store_neighbours(y + h * r.y_head + two, upper[h]);
  }
}

// `items` threads per head: P / 2 pairs, then the still floats, two each.
template <bool kAdd, class X, class Y>
__global__ void __launch_bounds__(kThreads) turn_pairs(RopeRows r, int items) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t head = at / items;
  const int item = static_cast<int>(at - head * items), pairs = static_cast<int>(r.P / 2);
  if (head >= r.T * r.H) return;
  const X* x = static_cast<const X*>(r.x) + head * r.x_head;
  Y* y = static_cast<Y*>(r.y) + head * r.y_head;
  const auto put = [](Y* to, float value) { put_f32(to, kAdd ? __fadd_rn(to_f32(*to), value) : value); };
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

// True if every head has whole groups that vectors can be loaded from.
template <class X, class Y>
bool turns_groups(const RopeRows& r) {
  return r.still == 0 && r.P % (2 * kPairs) == 0 && r.x_head % kPairs == 0 && r.y_head % kPairs == 0 &&
         holds_neighbours<X, kPairs>(static_cast<const X*>(r.x)) &&
         holds_neighbours<Y, kPairs>(static_cast<const Y*>(r.y)) && holds_neighbours<float, kPairs>(r.table);
}

template <bool kAdd, class X, class Y>
void launch_turn(const RopeRows& rows, cudaStream_t stream) {
  if (turns_groups<X, Y>(rows)) {
    const int64_t groups = rows.P / 2 / kPairs;
    const dim3 grid(static_cast<unsigned>(ceil_div(rows.T * groups, int64_t{kThreads})),
                    static_cast<unsigned>(ceil_div(rows.H, int64_t{kHeads})));
    const auto kernel = rows.interleaved ? turn_groups<kAdd, true, X, Y> : turn_groups<kAdd, false, X, Y>;
    kernel<<<grid, kThreads, 0, stream>>>(rows, static_cast<int>(groups));
  } else {
    const int64_t items = rows.P / 2 + (rows.still + 1) / 2, heads = rows.T * rows.H;
    const auto blocks = static_cast<unsigned>(ceil_div(heads * items, int64_t{kThreads}));
    turn_pairs<kAdd, X, Y><<<blocks, kThreads, 0, stream>>>(rows, static_cast<int>(items));
  }
  check_launch("rope_rows");
}

}  // namespace

void rope_rows(const RopeRows& rows, void* stream) {
  if (rows.P + rows.still == 0 || rows.T == 0 || rows.H == 0) return;
  R1_CHECK(!rows.add || (!rows.bf16 && !rows.rounds), "a sum in bf16");
  const auto s = static_cast<cudaStream_t>(stream);
  if (rows.bf16) return launch_turn<false, uint16_t, uint16_t>(rows, s);
  if (rows.rounds) return launch_turn<false, float, uint16_t>(rows, s);
  if (rows.add) return launch_turn<true, float, float>(rows, s);
  launch_turn<false, float, float>(rows, s);
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
  rows.rounds = call.dx.grad.dtype == DType::bf16;
  turn(ctx, call.rotary, rows);
}

}  // namespace r1::cuda
