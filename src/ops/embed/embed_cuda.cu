// ops/embed/embed_cuda.cu: token embedding on a CUDA device.
//
// Backward: the rows that one token adds must be added in the order of t. The host gathers the places of each token, and
// a block adds the rows of one token.
#include <cuda_runtime.h>

#include <algorithm>
#include <utility>

#include "base/integers.h"
#include "ops/embed/embed_backend.h"
#include "ops/embed/embed_cuda.h"
#include "ops/simd/upload_cuda.h"
#include "ops/simd/vectors_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 32;
constexpr int kAhead = 8;  // rows that are loaded before the first is needed

// kEach: columns of a thread.
template <int kEach>
__global__ void __launch_bounds__(kThreads)
    add_rows(const float* dy, TokenPlaces list, int64_t D, float* gradient) {
  const int64_t d = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kEach;
  if (d >= D) return;
  const int begin = list.starts[blockIdx.x], end = list.starts[blockIdx.x + 1];
  float* row = gradient + list.tokens[blockIdx.x] * D + d;
  float sums[kEach];
  load_neighbours(row, sums);
  int p = begin;
  for (; p + kAhead <= end; p += kAhead) {
    float ahead[kAhead][kEach];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) load_neighbours(dy + list.places[p + a] * D + d, ahead[a]);
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
#pragma unroll
      for (int e = 0; e < kEach; ++e) sums[e] = __fadd_rn(sums[e], ahead[a][e]);
    }
  }
  for (; p < end; ++p) {
    float next[kEach];
    load_neighbours(dy + list.places[p] * D + d, next);
#pragma unroll
    for (int e = 0; e < kEach; ++e) sums[e] = __fadd_rn(sums[e], next[e]);
  }
  store_neighbours(row, sums);
}

template <int kEach>
void launch_add(const float* dy, const TokenPlaces& places, int64_t D, float* gradient, void* stream) {
  const dim3 grid(static_cast<unsigned>(places.count),
                  static_cast<unsigned>(ceil_div(D, int64_t{kThreads * kEach})));
  add_rows<kEach><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(dy, places, D, gradient);
  check_launch("embed_add_rows");
}

}  // namespace

void gather_places(std::span<const int32_t> tokens, std::span<int32_t> counts, TokenPlaces& out) {
  std::ranges::fill(counts, 0);
  for (const int32_t token : tokens) ++counts[static_cast<size_t>(token)];
  out.count = 0;
  int32_t first = 0;
  for (size_t token = 0; token < counts.size(); ++token) {
    if (counts[token] == 0) continue;
    out.tokens[out.count] = static_cast<int32_t>(token);
    out.starts[out.count++] = first;
    first += std::exchange(counts[token], first);  // from now on, where the token's next place goes
  }
  out.starts[out.count] = first;
  for (size_t t = 0; t < tokens.size(); ++t)
    out.places[counts[static_cast<size_t>(tokens[t])]++] = static_cast<int32_t>(t);
}

void embed_add_rows(const float* dy, const TokenPlaces& places, int64_t D, float* gradient, void* stream) {
  if (places.count == 0 || D == 0) return;
  if (D % 4 == 0 && holds_neighbours<float, 4>(dy) && holds_neighbours<float, 4>(gradient))
    return launch_add<4>(dy, places, D, gradient, stream);
  launch_add<1>(dy, places, D, gradient, stream);
}

void embed_forward(Context& ctx, const EmbedForward& call) {
  call.table->copy_rows(ctx, call.tokens, call.y.f32());
}

void embed_backward(Context& ctx, const EmbedBackward& call) {
  const OpScope scope(ctx);
  const int64_t T = std::ssize(call.tokens), V = call.grad.dim(0);
  TokenPlaces list{.places = ctx.host().array<int32_t>(T),
                   .tokens = ctx.host().array<int32_t>(T),
                   .starts = ctx.host().array<int32_t>(T + 1)};
  auto* counts = ctx.host().array<int32_t>(V);
  ctx.tape->await_turn();
  list.count = T;  // the most, for measuring
  if (!ctx.measuring) gather_places(call.tokens, {counts, static_cast<size_t>(V)}, list);
  const auto count = static_cast<size_t>(list.count);
  Upload upload(ctx);
  const int places = upload.add(std::span<const int32_t>(list.places, static_cast<size_t>(T)));
  const int tokens = upload.add(std::span<const int32_t>(list.tokens, count));
  const int starts = upload.add(std::span<const int32_t>(list.starts, count + 1));
  upload.send();
  if (ctx.measuring) return;
  const auto on_device = [&](int i) { return const_cast<int32_t*>(upload.at<int32_t>(i)); };
  embed_add_rows(call.dy.f32(),
                 {.places = on_device(places),
                  .tokens = on_device(tokens),
                  .starts = on_device(starts),
                  .count = list.count},
                 call.dy.dim(1), call.grad.f32(), ctx.stream);
}

}  // namespace r1::cuda
