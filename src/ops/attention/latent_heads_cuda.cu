// ops/attention/latent_heads_cuda.cu: what lies between the projections and the attention of latents in a decoding step, in
// one launch: the norm of the latent, rope, and the key's way into its page. A block has a row.
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/attention/decode_cuda.h"
#include "ops/attention/latent_attention_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/rope/rope_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 128;

struct LatentHeadsJob {
  const uint16_t *q, *compressed;
  uint16_t *absorbed, *pages;
  const float *norm, *table;
  float eps;
  int H, R, P, q_head;  // q_head: elements of a head of q
  bool interleaved;
  int64_t page_elements;
  DecodeLists lists;
};

// Turns the P numbers at `from`, as ops/rope/rope_cuda.cu does, pair `pair` of them.
__device__ __forceinline__ void turn_pair(const LatentHeadsJob& f, const float* cosines, const uint16_t* from,
                                          int pair, uint16_t* to) {
  const int pairs = f.P / 2, first = f.interleaved ? 2 * pair : pair,
            second = first + (f.interleaved ? 1 : pairs);
  const float c = cosines[pair], s = cosines[kRopeBlock * pairs + pair];
  const float x0 = to_f32(from[first]), x1 = to_f32(from[second]);
  put_f32(to + first, __fmaf_rn(x0, c, -__fmul_rn(x1, s)));
  put_f32(to + second, __fmaf_rn(x1, c, __fmul_rn(x0, s)));
}

// The first warp norms the latent, the others turn; a row at position -1 has queries of zeros and no key.
__global__ void __launch_bounds__(kThreads) place_latent_row(LatentHeadsJob f) {
  let_next_start();
  await_previous();
  const int64_t s = blockIdx.x;
  const int position = f.lists.positions[s], thread = static_cast<int>(threadIdx.x), K = f.R + f.P,
            pairs = f.P / 2;
  uint16_t* const absorbed = f.absorbed + s * f.H * K;
  if (position < 0) {
    for (int i = thread; i < f.H * f.P; i += kThreads) absorbed[i / f.P * K + f.R + i % f.P] = 0;
    return;
  }
  const uint16_t* const compressed = f.compressed + s * K;
  uint16_t* const key = f.pages +
                        f.lists.table[s * f.lists.max_pages + position / kKeyTile] * f.page_elements +
                        position % static_cast<int>(kKeyTile) * K;
  const float* const cosines = f.table + (position / kRopeBlock * 2 * kRopeBlock + position % kRopeBlock) *
                                             static_cast<int64_t>(pairs);
  if (thread < 32) {
    // Both halves of the warp sum the same numbers.
    const float squares = tree_sum(fold<8>(
        0.0f, f.R, [&](int64_t i) { return to_f32(compressed[i]); },
        [](float sum, float v) { return __fmaf_rn(v, v, sum); }));
    const float r = rstd_of(squares, f.R, f.eps);
    for (int i = thread; i < f.R; i += 32)
      put_f32(key + i, normed<uint16_t>(to_f32(compressed[i]), r, f.norm[i]));
    return;
  }
  const int first = thread - 32, apart = kThreads - 32;
  for (int pair = first; pair < pairs; pair += apart)
    turn_pair(f, cosines, compressed + f.R, pair, key + f.R);
  const uint16_t* const q = f.q + s * f.H * f.q_head + f.q_head - f.P;
  for (int i = first; i < f.H * pairs; i += apart)
    turn_pair(f, cosines, q + i / pairs * f.q_head, i % pairs, absorbed + i / pairs * K + f.R);
}

}  // namespace

bool has_place_latents(const Context& ctx, const LatentPagesOf& call) {
  return ctx.activations() == DType::bf16 && latents_on_tensor_cores(call.pages) && decodes(call.batch);
}

void place_latents(Context& ctx, const PlaceLatents& call) {
  const OpScope scope(ctx);
  const ProjectedLatents& l = call.latents;
  LatentHeadsJob f{};
  f.lists = decode_lists(ctx, call.batch);
  if (ctx.measuring) return;
  const std::span<const int32_t> positions = l.rotary.positions;
  f.table = l.rotary.table->copy_in(ctx.memory(), 1 + *std::max_element(positions.begin(), positions.end()));
  f.q = l.q.bf16(), f.compressed = l.compressed.bf16();
  f.absorbed = call.absorbed.bf16(), f.pages = static_cast<uint16_t*>(call.pages.data);
  f.norm = l.norm->value.f32(), f.eps = l.eps;
  f.H = static_cast<int>(l.q.dim(1)), f.q_head = static_cast<int>(l.q.dim(2));
  f.R = static_cast<int>(call.pages.V), f.P = static_cast<int>(l.rotary.width());
  f.interleaved = l.rotary.style == RopeStyle::interleaved;
  f.page_elements = call.pages.page_elements();
  launch_early(launches_early(ctx), "latent heads", place_latent_row, dim3(static_cast<unsigned>(f.lists.S)),
               kThreads, 0, ctx.stream, f);
}

}  // namespace r1::cuda
