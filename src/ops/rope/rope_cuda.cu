// ops/rope/rope_cuda.cu: rotary position embedding on a CUDA device:
//
//   y0 = fma(x0, c, -(x1 * s)),   y1 = fma(x1, c, x0 * s),   s with its sign
//
// A warp turns the heads of a token, 512 bytes of x at a time, so that a thread reads its sines and cosines once. In the
// half-rotated style another thread has the other halves of a thread's pairs; they exchange them. If the shapes do not
// allow that, a thread turns one pair, or moves two of the floats that stay.
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

// Words of 32 bits that a thread takes of a head: 16 bytes.
constexpr int kWords = 4;
using Words = Neighbours<uint32_t, kWords>;

// The values in words: themselves, or two each.
__device__ __forceinline__ void widen_words(const Words& words, float (&to)[kWords]) {
#pragma unroll
  for (int i = 0; i < kWords; ++i) to[i] = __uint_as_float(words.at[i]);
}
__device__ __forceinline__ void widen_words(const Words& words, float (&to)[2 * kWords]) {
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    to[2 * i] = __uint_as_float(words.at[i] << 16);
    to[2 * i + 1] = __uint_as_float(words.at[i] & 0xFFFF0000u);
  }
}

// `per_head` threads have a head; it divides 32.
template <bool kAdd, bool kInterleaved, class X, class Y>
__global__ void __launch_bounds__(kThreads) turn_tokens(RopeRows r, int per_head) {
  constexpr int kEach = 16 / sizeof(X), kAngles = kInterleaved ? kEach / 2 : kEach;
  constexpr int kAhead =
      sizeof(X) == sizeof(float) ? 8 : 4;  // heads that are loaded before the first is needed
  const int64_t t = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (t >= r.T) return;
  const int lane = threadIdx.x % 32, item = lane % per_head, H = static_cast<int>(r.H);
  const int first_head = lane / per_head, apart = 32 / per_head;
  const X* x = static_cast<const X*>(r.x) + t * r.H * r.x_head + item * kEach;
  Y* y = static_cast<Y*>(r.y) + t * r.H * r.y_head + item * kEach;
  const bool second =
      !kInterleaved && 2 * item >= per_head;  // the thread has the second halves of its pairs
  float c[kAngles], s[kAngles];
  for (int first = 0; first < H; first += kAhead * apart) {
    Words loaded[kAhead] = {};
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int h = first + a * apart + first_head;
      if (h < H) loaded[a] = *reinterpret_cast<const Words*>(x + h * r.x_head);
    }
    if (first == 0) {  // now, so that the loads of x wait for nothing
      const int pairs = static_cast<int>(r.P / 2);
      const int pair = kInterleaved ? item * kAngles : item % (per_head / 2) * kEach;
      const int64_t position = max(r.positions[t], 0);  // -1: a row that is not there
      const float* cosines =
          r.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) * pairs + pair;
      load_neighbours(cosines, c);
      load_neighbours(cosines + kRopeBlock * pairs, s);
#pragma unroll
      for (int i = 0; i < kAngles; ++i) s[i] = r.back ? -s[i] : s[i];
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      float own[kEach], turned[kEach];
      widen_words(loaded[a], own);
      if constexpr (kInterleaved) {
#pragma unroll
        for (int i = 0; i < kAngles; ++i) {
          turned[2 * i] = __fmaf_rn(own[2 * i], c[i], -__fmul_rn(own[2 * i + 1], s[i]));
          turned[2 * i + 1] = __fmaf_rn(own[2 * i + 1], c[i], __fmul_rn(own[2 * i], s[i]));
        }
      } else {
        Words exchanged;
#pragma unroll
        for (int i = 0; i < kWords; ++i)
          exchanged.at[i] = __shfl_xor_sync(0xFFFFFFFFu, loaded[a].at[i], per_head / 2);
        float other[kEach];
        widen_words(exchanged, other);
#pragma unroll
        for (int i = 0; i < kEach; ++i)
          turned[i] = __fmaf_rn(own[i], c[i], __fmul_rn(other[i], second ? s[i] : -s[i]));
      }
      const int h = first + a * apart + first_head;
      if (h >= H) continue;
      if constexpr (kAdd) {
        float held[kEach];
        load_neighbours(y + h * r.y_head, held);
#pragma unroll
        for (int i = 0; i < kEach; ++i) turned[i] = __fadd_rn(held[i], turned[i]);
      }
      store_neighbours(y + h * r.y_head, turned);
    }
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

// True if every head is that of a number of threads that divides a warp, and vectors can be loaded.
template <class X, class Y>
bool turns_tokens(const RopeRows& r) {
  constexpr int64_t kEach = 16 / sizeof(X);
  const int64_t per_head = r.P / kEach;
  return r.still == 0 && r.P % kEach == 0 && per_head > 0 && 32 % per_head == 0 &&
         (r.interleaved || per_head > 1) && r.x_head % kEach == 0 && r.y_head % kEach == 0 &&
         holds_neighbours<X, kEach>(static_cast<const X*>(r.x)) &&
         holds_neighbours<Y, kEach>(static_cast<const Y*>(r.y)) && holds_neighbours<float, 4>(r.table);
}

template <bool kAdd, class X, class Y>
void launch_turn(const RopeRows& rows, cudaStream_t stream) {
  if (turns_tokens<X, Y>(rows)) {
    const auto per_head = static_cast<int>(rows.P * static_cast<int64_t>(sizeof(X)) / 16);
    const auto blocks = static_cast<unsigned>(ceil_div(rows.T, int64_t{kThreads / 32}));
    const auto kernel = rows.interleaved ? turn_tokens<kAdd, true, X, Y> : turn_tokens<kAdd, false, X, Y>;
    kernel<<<blocks, kThreads, 0, stream>>>(rows, per_head);
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

void turn_rows(Context& ctx, const Rotary& rotary, RopeRows rows) {
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

namespace {

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
  turn_rows(ctx, rotary,
            {.x = heads.x,
             .x_head = heads.x_head,
             .y = heads.y,
             .y_head = heads.y_head,
             .H = heads.H,
             .back = heads.back,
             .add = heads.add});
}

void rope_forward(Context& ctx, const RopeForward& call) {
  turn_rows(ctx, call.rotary, whole_heads(call.rotary, call.x, call.y));
}

void rope_backward(Context& ctx, const RopeBackward& call) {
  RopeRows rows = whole_heads(call.rotary, call.dy, call.dx.grad);
  rows.back = true;
  rows.add = call.dx.accumulate;
  rows.rounds = call.dx.grad.dtype == DType::bf16;
  turn_rows(ctx, call.rotary, rows);
}

}  // namespace r1::cuda
