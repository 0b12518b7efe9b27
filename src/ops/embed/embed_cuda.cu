// ops/embed/embed_cuda.cu: token embedding on a CUDA device.
//
// Backward: the rows that one token adds must be added in the order of t. The block of a token's first place
// in the batch adds all of them; the blocks of its later places find that they are not the first and end. No
// block waits for another, and nothing is sorted.
#include <cuda_runtime.h>

#include "ops/embed/embed_backend.h"
#include "ops/embed/embed_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;                    // columns
constexpr int kColumns = kThreads * kPerThread;  // of one block
constexpr int kWarps = kThreads / 32;

__global__ void __launch_bounds__(kThreads)
    add_rows(const float* dy, const int32_t* tokens, int64_t T, int64_t D, float* gradient) {
  __shared__ int
      places[kThreads];  // of the token in the current piece of the batch, from its begin, in order
  __shared__ int found_by[kWarps];
  const int64_t first = blockIdx.x;
  const int32_t token = tokens[first];
  for (int64_t begin = 0; begin < first; begin += kThreads) {
    const int64_t t = begin + threadIdx.x;
    if (__syncthreads_or(t < first && tokens[t] == token)) return;
  }
  const int64_t d0 = static_cast<int64_t>(blockIdx.y) * kColumns + threadIdx.x;
  float* row = gradient + token * D;
  float sums[kPerThread];
#pragma unroll
  for (int c = 0; c < kPerThread; ++c) sums[c] = d0 + c * kThreads < D ? row[d0 + c * kThreads] : 0.0f;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int64_t begin = first; begin < T; begin += kThreads) {
    const int64_t t = begin + threadIdx.x;
    const bool here = t < T && tokens[t] == token;
    const unsigned found = __ballot_sync(0xFFFFFFFFu, here);
    if (lane == 0) found_by[warp] = __popc(found);
    __syncthreads();
    int before = 0, count = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      before += w < warp ? found_by[w] : 0;
      count += found_by[w];
    }
    if (here) places[before + __popc(found & ((1u << lane) - 1))] = threadIdx.x;
    __syncthreads();
#pragma unroll 4
    for (int p = 0; p < count; ++p) {
      const float* from = dy + (begin + places[p]) * D + d0;
#pragma unroll
      for (int c = 0; c < kPerThread; ++c) {
        if (d0 + c * kThreads < D) sums[c] = __fadd_rn(sums[c], from[c * kThreads]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int c = 0; c < kPerThread; ++c) {
    if (d0 + c * kThreads < D) row[d0 + c * kThreads] = sums[c];
  }
}

}  // namespace

void embed_add_rows(const float* dy, const int32_t* tokens, int64_t T, int64_t D, float* gradient,
                    void* stream) {
  if (T == 0 || D == 0) return;
  const dim3 grid(static_cast<unsigned>(T), static_cast<unsigned>((D + kColumns - 1) / kColumns));
  add_rows<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(dy, tokens, T, D, gradient);
  check_launch("embed_add_rows");
}

void embed_forward(Context& ctx, const EmbedForward& call) {
  call.table->copy_rows(ctx, call.tokens, call.y.f32());
}

void embed_backward(Context& ctx, const EmbedBackward& call) {
  const OpScope scope(ctx);
  const int64_t T = std::ssize(call.tokens);
  auto* tokens = ctx.arena.array<int32_t>(T);
  ctx.tape->await_turn();
  if (ctx.measuring) return;
  ctx.memory().write(tokens, call.tokens.data(), call.tokens.size_bytes(), ctx.stream);
  embed_add_rows(call.dy.f32(), tokens, T, call.dy.dim(1), call.grad.f32(), ctx.stream);
}

}  // namespace r1::cuda
