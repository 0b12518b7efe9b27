// ops/rope/rope_cuda.cu: rotary position embedding on a CUDA device:
//
//   y0 = fma(x0, c, -(x1 * s)),   y1 = fma(x1, c, x0 * s),   s with its sign
//
// A thread turns the same pairs of several heads of a token, so that it reads their sines and cosines once. If the shapes
// do not allow vectors, a thread turns one pair, or moves two of the floats that stay.
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>

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

// How the lanes of a warp are dealt out: 2^item_bits have a head (of a half-rotated head, a part of both halves each),
// 2^head_bits heads of a token are turned at a time, and what is left are tokens.
struct LaneBits {
  int item = 0, head = 0;
};
__device__ __forceinline__ int64_t token_of(const LaneBits& bits, int lane) {
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  return warp << (5 - bits.item - bits.head) | lane >> (bits.item + bits.head);
}

// Loads the cosines and sines of a token's pairs from `pair` on.
template <int kPairs>
__device__ __forceinline__ void load_angles(const RopeRows& r, int64_t t, int pair, float (&c)[kPairs],
                                            float (&s)[kPairs]) {
  const int pairs = static_cast<int>(r.P) / 2;
  const auto position = static_cast<uint32_t>(max(r.positions[t], 0));  // -1: a row that is not there
  constexpr auto kBlock = static_cast<uint32_t>(kRopeBlock);
  const float* cosines =
      r.table + static_cast<int64_t>(position / kBlock * 2 * kBlock + position % kBlock) * pairs + pair;
  load_neighbours(cosines, c);
  load_neighbours(cosines + static_cast<int>(kBlock) * pairs, s);
#pragma unroll
  for (int i = 0; i < kPairs; ++i) s[i] = r.back ? -s[i] : s[i];
}

template <bool kAdd, class Y, int kCount>
__device__ __forceinline__ void put_turned(Y* to, float (&turned)[kCount]) {
  if constexpr (kAdd) {
    float held[kCount];
    load_neighbours(to, held);
#pragma unroll
    for (int i = 0; i < kCount; ++i) turned[i] = __fadd_rn(held[i], turned[i]);
  }
  store_neighbours(to, turned);
}

constexpr int kHeadsAhead = 3;  // heads that are loaded before the first is needed

// Heads whose pairs are (i, i + P / 2): a thread takes 16 bytes of each half.
template <bool kAdd, class X, class Y>
__global__ void __launch_bounds__(kThreads, 3) turn_halves(RopeRows r, LaneBits bits) {
  constexpr int kPairs = 16 / sizeof(X);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t t = token_of(bits, lane);
  if (t >= r.T) return;
  const int pair = (lane & ((1 << bits.item) - 1)) * kPairs, half = static_cast<int>(r.P) / 2;
  const int first = lane >> bits.item & ((1 << bits.head) - 1), apart = 1 << bits.head;
  const int H = static_cast<int>(r.H), x_head = static_cast<int>(r.x_head),
            y_head = static_cast<int>(r.y_head);
  const X* x = static_cast<const X*>(r.x) + t * r.H * r.x_head + pair;
  Y* y = static_cast<Y*>(r.y) + t * r.H * r.y_head + pair;
  float c[kPairs], s[kPairs];
  for (int begin = first; begin < H; begin += kHeadsAhead * apart) {
    Words lower[kHeadsAhead], upper[kHeadsAhead];
#pragma unroll
    for (int a = 0; a < kHeadsAhead; ++a) {
      const int h = begin + a * apart;
      if (h >= H) break;
      lower[a] = *reinterpret_cast<const Words*>(x + h * x_head);
      upper[a] = *reinterpret_cast<const Words*>(x + h * x_head + half);
    }
    if (begin == first) load_angles(r, t, pair, c, s);  // now, so that the loads of x wait for nothing
#pragma unroll
    for (int a = 0; a < kHeadsAhead; ++a) {
      const int h = begin + a * apart;
      if (h >= H) break;
      float x0[kPairs], x1[kPairs], y0[kPairs], y1[kPairs];
      widen_words(lower[a], x0), widen_words(upper[a], x1);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        y0[i] = __fmaf_rn(x0[i], c[i], __fmul_rn(x1[i], -s[i]));
        y1[i] = __fmaf_rn(x1[i], c[i], __fmul_rn(x0[i], s[i]));
      }
      put_turned<kAdd>(y + h * y_head, y0);
      put_turned<kAdd>(y + h * y_head + half, y1);
    }
  }
}

// Heads whose pairs are neighbours: a thread takes 16 bytes.
template <bool kAdd, class X, class Y>
__global__ void __launch_bounds__(kThreads) turn_neighbours(RopeRows r, LaneBits bits) {
  constexpr int kEach = 16 / sizeof(X), kPairs = kEach / 2;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t t = token_of(bits, lane);
  if (t >= r.T) return;
  const int item = lane & ((1 << bits.item) - 1);
  const int first = lane >> bits.item & ((1 << bits.head) - 1), apart = 1 << bits.head;
  const int H = static_cast<int>(r.H), x_head = static_cast<int>(r.x_head),
            y_head = static_cast<int>(r.y_head);
  const X* x = static_cast<const X*>(r.x) + t * r.H * r.x_head + item * kEach;
  Y* y = static_cast<Y*>(r.y) + t * r.H * r.y_head + item * kEach;
  float c[kPairs], s[kPairs];
  for (int begin = first; begin < H; begin += kHeadsAhead * apart) {
    Words loaded[kHeadsAhead];
#pragma unroll
    for (int a = 0; a < kHeadsAhead; ++a) {
      const int h = begin + a * apart;
      if (h >= H) break;
      loaded[a] = *reinterpret_cast<const Words*>(x + h * x_head);
    }
    if (begin == first) load_angles(r, t, item * kPairs, c, s);
#pragma unroll
    for (int a = 0; a < kHeadsAhead; ++a) {
      const int h = begin + a * apart;
      if (h >= H) break;
      float own[kEach], turned[kEach];
      widen_words(loaded[a], own);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        turned[2 * i] = __fmaf_rn(own[2 * i], c[i], -__fmul_rn(own[2 * i + 1], s[i]));
        turned[2 * i + 1] = __fmaf_rn(own[2 * i + 1], c[i], __fmul_rn(own[2 * i], s[i]));
      }
      put_turned<kAdd>(y + h * y_head, turned);
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

// True if a head is that of a number of threads that divides a warp, and vectors can be loaded.
template <class X, class Y>
bool turns_vectors(const RopeRows& r) {
  constexpr int64_t kEach = 16 / sizeof(X);
  const int64_t width = r.interleaved ? r.P : r.P / 2, items = width / kEach;
  return r.still == 0 && r.P % 2 == 0 && width % kEach == 0 && items > 0 && 32 % items == 0 &&
         r.x_head % kEach == 0 && r.y_head % kEach == 0 && r.H * std::max(r.x_head, r.y_head) <= INT32_MAX &&
         holds_neighbours<X, kEach>(static_cast<const X*>(r.x)) &&
         holds_neighbours<Y, kEach>(static_cast<const Y*>(r.y)) && holds_neighbours<float, 4>(r.table);
}

// As many heads at a time as leave no lane idle, or all lanes.
LaneBits lanes_for(int64_t items, int64_t H) {
  LaneBits bits{.item = std::countr_zero(static_cast<uint32_t>(items))};
  bits.head = std::min(5 - bits.item, std::countr_zero(static_cast<uint32_t>(H)));
  constexpr int64_t kMostTurns = 8;
  while (bits.item + bits.head < 5 && H >> bits.head > kMostTurns) ++bits.head;
  return bits;
}

template <bool kAdd, class X, class Y>
void launch_turn(const RopeRows& rows, cudaStream_t stream) {
  if (turns_vectors<X, Y>(rows)) {
    const int64_t width = rows.interleaved ? rows.P : rows.P / 2;
    const LaneBits bits = lanes_for(width * static_cast<int64_t>(sizeof(X)) / 16, rows.H);
    const int64_t tokens = int64_t{kThreads} >> (bits.item + bits.head);
    const auto blocks = static_cast<unsigned>(ceil_div(rows.T, tokens));
    const auto kernel = rows.interleaved ? turn_neighbours<kAdd, X, Y> : turn_halves<kAdd, X, Y>;
    kernel<<<blocks, kThreads, 0, stream>>>(rows, bits);
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
