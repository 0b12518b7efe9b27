// ops/matmul/tensor_heads_sm90.cu: products of heads by wgmma, for many tokens.
//
// The heads' columns lie side by side in the rows of Q and D, and their matrices one below the other, so one map serves
// all heads. Persistent blocks take tiles of 128 x kJ outputs in turn, a head after the other. A tile may read rows of
// another head's matrix past its own last one; their outputs are not stored.
#include <algorithm>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "ops/matmul/tensor_product_sm90.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kHeadJ = 128;
constexpr int kHeadStages = (216 * 1024 - kGroups * kStoreBytes<kHeadJ>) / ((kTileI + kHeadJ) * kTileK * 2);

// Columns and rows of a head begin where the head before it ends: p_rows rows of P further down, q_columns and d_columns
// columns of Q and D further right.
struct HeadsJob {
  CUtensorMap p, q, d;
  int heads, tiles_i, tiles_j, part_k, shards;
  int p_rows, q_columns, d_columns;
  int I;
  bool d_bf16;
};

struct HeadTile {
  int head, i0, j0;
};
__device__ __forceinline__ HeadTile head_tile(const HeadsJob& job, int tile) {
  const int each = job.tiles_i * job.tiles_j, place = tile % each;
  return {tile / each, place % job.tiles_i * kTileI, place / job.tiles_i * kHeadJ};
}

template <bool kPByK>
__global__ void __launch_bounds__(kPipelineThreads, 1) wgmma_heads(const __grid_constant__ HeadsJob job) {
#ifdef R1_HAS_WGMMA
  using Pipe = Pipeline<kHeadJ, kPByK, true, kHeadStages>;
  extern __shared__ uint8_t head_stages[];
  __shared__ uint64_t barriers[2 * Pipe::kStages];
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(head_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  Pipe pipe{stages, full, full + 8 * Pipe::kStages, 1, 0};
  if (threadIdx.x == 0) pipe.init();
  __syncthreads();
  await_previous();
  const int count = job.heads * job.tiles_i * job.tiles_j, first = static_cast<int>(blockIdx.x),
            apart = static_cast<int>(gridDim.x);
  if (threadIdx.x >= kMultipliers) {
    give_registers<kCopierRegisters>();
    if (threadIdx.x != kMultipliers) return;
    for (int n = first; n < count; n += apart) {
      const HeadTile tile = head_tile(job, n);
      const int down = tile.head * job.p_rows;
      for (int k = 0; k < job.shards * job.part_k; k += kTileK)
        pipe.copy_stage(job.p, job.q, kPByK ? BoxAt{k, tile.i0 + down, 0} : BoxAt{k + down, tile.i0, 0},
                        {tile.head * job.q_columns + k, tile.j0, 0});
    }
    return;
  }
  take_registers<kMultiplierRegisters>();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const uint32_t buffer =
      stages + static_cast<uint32_t>(Pipe::kBytes) + static_cast<uint32_t>(group) * kStoreBytes<kHeadJ>;
  const bool pairs = job.part_k == kTileK && job.shards % 2 == 0;  // as tensor_groups_sm90.cu has it
  float chain[Pipe::kCount], next[Pipe::kCount], total[Pipe::kCount];
#pragma unroll
  for (int e = 0; e < Pipe::kCount; ++e) chain[e] = next[e] = 0.0f;
  const auto add = [&](const float(&sum)[Pipe::kCount]) {
#pragma unroll
    for (int e = 0; e < Pipe::kCount; ++e) total[e] = __fadd_rn(total[e], sum[e]);
  };
  for (int n = first; n < count; n += apart) {
    const HeadTile tile = head_tile(job, n);
#pragma unroll
    for (float& t : total) t = -0.0f;  // -0 + x is x, whatever x is
    for (int s = 0; s < job.shards; s += pairs ? 2 : 1) {
      if (pairs) {
        pipe.sum_two(chain, next, false, [&] { add(chain); });
        add(next);
      } else {
        pipe.sum(chain, {0, 0, job.part_k}, true);
        add(chain);
      }
    }
    const int i0 = tile.i0 + 64 * group, at = tile.head * job.d_columns + i0;
    if (i0 >= job.I) continue;
    if (job.d_bf16) {
      store_bf16(job.d, buffer, at, tile.j0, total);
    } else {
      store_f32(job.d, buffer, at, tile.j0, total);
    }
  }
  if (threadIdx.x % 64 == 0) store_wait<0>();
#endif
}

template <bool kPByK>
void launch_heads(const HeadsJob& job, const char* name, bool early, cudaStream_t stream) {
  using Pipe = Pipeline<kHeadJ, kPByK, true, kHeadStages>;
  constexpr int kBytes = Pipe::kBytes + kGroups * kStoreBytes<kHeadJ> + kAligned;
  static_assert(Pipe::kStages >= 3 && kBytes + 256 <= 227 * 1024, "sm_90 has no more per block");
  const auto kernel = wgmma_heads<kPByK>;
  allow_shared(kernel, kBytes);
  const int tiles = job.heads * job.tiles_i * job.tiles_j;
  launch_early(early, name, kernel, static_cast<unsigned>(std::min(tiles, multiprocessors())),
               kPipelineThreads, kBytes, stream, job);
}

}  // namespace

bool wgmma_heads_fit(const TensorProduct& product, const TensorGroups& heads) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  const auto whole = [](int64_t n, int64_t of) { return n > 0 && n % of == 0; };
  // Stages end where shards end, and warpgroups store all of their 64 rows or none.
  return on_hopper() && heads.starts == nullptr && takes_shape(product) && product.q.by_k &&
         whole(product.K, kTileK * shards.count) && whole(product.I, 64) && !product.accumulate &&
         product.k_rows == nullptr && product.bias == nullptr && product.gradients == nullptr &&
         heads.p % product.p.row == 0 && takes_vectors(product.p) && takes_vectors(product.q) &&
         output_has_map(product) && heads.count * std::max({heads.p, heads.q, heads.d}) <= INT32_MAX;
}

void wgmma_heads_product(const TensorProduct& product, const TensorGroups& heads, void* stream) {
  R1_CHECK(wgmma_heads_fit(product, heads), "heads of ", product.I, " x ", product.K);
  if (product.J == 0 || heads.count == 0) return;
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  HeadsJob job{};
  job.heads = static_cast<int>(heads.count), job.I = static_cast<int>(product.I);
  job.tiles_i = static_cast<int>(tiles_down(product));
  job.tiles_j = static_cast<int>(tiles_across<kHeadJ>(product));
  job.part_k = static_cast<int>(product.K / shards.count), job.shards = static_cast<int>(shards.count);
  job.p_rows = static_cast<int>(heads.p / product.p.row);
  job.q_columns = static_cast<int>(heads.q), job.d_columns = static_cast<int>(heads.d);
  job.d_bf16 = product.d_bf16;
  // What follows the last head's rows or columns is not read: maps end there.
  const int64_t before = heads.count - 1, rows = before * job.p_rows;
  const bool by_k = product.p.by_k;
  job.p = operand_map(product.p, {.rows = by_k ? rows + product.I : product.I,
                                  .part = by_k ? product.K : rows + product.K,
                                  .box_rows = kTileI,
                                  .box_k = static_cast<int>(kTileK)});
  job.q = operand_map(product.q, {.rows = product.J,
                                  .part = before * heads.q + product.K,
                                  .box_rows = kHeadJ,
                                  .box_k = static_cast<int>(kTileK)});
  TensorProduct all = product;
  all.I = before * heads.d + product.I;
  job.d = output_map(all, box_columns<kHeadJ>(product.d_bf16));
  const auto s = static_cast<cudaStream_t>(stream);
  by_k ? launch_heads<true>(job, launch_name(product, heads), product.early, s)
       : launch_heads<false>(job, launch_name(product, heads), product.early, s);
}

}  // namespace r1::cuda
