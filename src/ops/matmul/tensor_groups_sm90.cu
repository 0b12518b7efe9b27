// ops/matmul/tensor_groups_sm90.cu: products of experts by wgmma.
//
// Blocks are persistent and take tiles of 128 x kJ outputs in turn (tensor_pipeline_sm90.cuh): all tiles in i of both
// products for some rows of an expert, then its next rows, then the next expert. Each block first counts the experts' tiles.
// A tile may read rows of Q past the expert's last one, which are another expert's or zeros; it stores none of them.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/tensor_groups_sm90.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kMostExperts = 512;
constexpr int kMostPair = 2;

struct GroupJob {
  CUtensorMap q[kMostPair], d[kMostPair];
  const CUtensorMap* p[kMostPair];
  TensorProduct products[kMostPair];
  const int64_t* starts;
  int experts, outputs, terms;  // terms: the products whose sum is D
  int tiles_i, part_k, shards;
  bool d_mapped;
};

// The experts' first tiles and rows, in shared memory. The tiles of an expert are counted over i, products, rows.
struct ExpertTiles {
  int first[kMostExperts + 1], row[kMostExperts + 1];

  // By the first warp of a block.
  __device__ __forceinline__ void count(const GroupJob& job, int rows_each) {
    const int lane = static_cast<int>(threadIdx.x), each = job.tiles_i * job.outputs;
    int before = 0;
    for (int e0 = 0; e0 < job.experts; e0 += 32) {
      const int e = e0 + lane;
      int begin = 0, tiles = 0;
      if (e < job.experts) {
        begin = static_cast<int>(job.starts[e]);
        tiles = (static_cast<int>(job.starts[e + 1]) - begin + rows_each - 1) / rows_each * each;
      }
      int sum = tiles;  // of this lane and those below
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(~0u, sum, step);
        if (lane >= step) sum += below;
      }
      if (e < job.experts) first[e] = before + sum - tiles, row[e] = begin;
      before += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) first[job.experts] = before, row[job.experts] = static_cast<int>(job.starts[job.experts]);
  }
};

struct GroupTile {
  int expert, product, i0, j0, end;  // rows [j0, end) of D are the tile's, if it has so many
};
template <int kJ>
__device__ __forceinline__ GroupTile group_tile(const GroupJob& job, const ExpertTiles& tiles, int tile) {
  int low = 0, high = job.experts;  // first[low] <= tile < first[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (tiles.first[middle] <= tile ? low : high) = middle;
  }
  const int place = tile - tiles.first[low], each = job.tiles_i * job.outputs;
  return {.expert = low,
          .product = place % each / job.tiles_i,
          .i0 = place % job.tiles_i * kTileI,
          .j0 = tiles.row[low] + place / each * kJ,
          .end = tiles.row[low + 1]};
}

// A map in global memory may be another one than the last time: what this thread knows of it is void.
__device__ __forceinline__ void renew_map(const CUtensorMap* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}

template <int kJ>
constexpr int kGroupStages = (216 * 1024 - kGroups * kStoreBytes<kJ>) / ((kTileI + kJ) * kTileK * 2);

template <int kJ, bool kPByK>
__global__ void __launch_bounds__(kPipelineThreads, 1) wgmma_experts(const __grid_constant__ GroupJob job) {
#ifdef R1_HAS_WGMMA
  using Pipe = Pipeline<kJ, kPByK, true, kGroupStages<kJ>>;
  extern __shared__ uint8_t expert_stages[];
  __shared__ uint64_t barriers[2 * Pipe::kStages];
  __shared__ ExpertTiles tiles;
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(expert_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  Pipe pipe{stages, full, full + 8 * Pipe::kStages, 1, 0};
  if (threadIdx.x == 32) pipe.init();
  await_previous();
  if (threadIdx.x < 32) tiles.count(job, kJ);
  __syncthreads();
  const int count = tiles.first[job.experts];
  if (threadIdx.x >= kMultipliers) {
    give_registers<kCopierRegisters>();
    if (threadIdx.x == kMultipliers) {
      const CUtensorMap* renewed[kMostPair] = {};
      for (int n = static_cast<int>(blockIdx.x); n < count; n += static_cast<int>(gridDim.x)) {
        const GroupTile tile = group_tile<kJ>(job, tiles, n);
        for (int term = 0; term < job.terms; ++term) {
          const int which = tile.product + term;
          const CUtensorMap* const map = (which == 0 ? job.p[0] : job.p[1]) + tile.expert;
          if (map != (which == 0 ? renewed[0] : renewed[1])) {
            renew_map(map);
            (which == 0 ? renewed[0] : renewed[1]) = map;
          }
          for (int s = 0; s < job.shards; ++s)
            pipe.copy(*map, which == 0 ? job.q[0] : job.q[1], {0, s, job.part_k}, tile.i0, tile.j0);
        }
      }
    }
    return;
  }
  take_registers<kMultiplierRegisters>();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const uint32_t buffer =
      stages + static_cast<uint32_t>(Pipe::kBytes) + static_cast<uint32_t>(group) * kStoreBytes<kJ>;
  // Shards of one stage are summed in pairs, so that the tensor cores go on while a sum is added to the total.
  const bool pairs = job.part_k == kTileK && job.shards % 2 == 0;
  float chain[Pipe::kCount], next[Pipe::kCount], total[Pipe::kCount];
#pragma unroll
  for (int e = 0; e < Pipe::kCount; ++e) chain[e] = next[e] = 0.0f;
  const auto add = [&](const float(&sum)[Pipe::kCount]) {
#pragma unroll
    for (int e = 0; e < Pipe::kCount; ++e) total[e] = __fadd_rn(total[e], sum[e]);
  };
  for (int n = static_cast<int>(blockIdx.x); n < count; n += static_cast<int>(gridDim.x)) {
    const GroupTile tile = group_tile<kJ>(job, tiles, n);
#pragma unroll
    for (float& t : total) t = -0.0f;  // -0 + x is x, whatever x is
    for (int s = 0; s < job.terms * job.shards; s += pairs ? 2 : 1) {
      // The second product's chain begins with the first one's D.
      const bool continues = s > 0 && s % job.shards == 0;
      if (continues) {
#pragma unroll
        for (int e = 0; e < Pipe::kCount; ++e) chain[e] = total[e], total[e] = -0.0f;
      }
      if (pairs) {
        pipe.sum_two(chain, next, continues, [&] { add(chain); });
        add(next);
      } else {
        pipe.sum(chain, {0, 0, job.part_k}, !continues);
        add(chain);
      }
    }
    const int i0 = tile.i0 + 64 * group;
    const bool second = tile.product == 1;
    TensorProduct product = second ? job.products[1] : job.products[0];
    if (job.d_mapped && tile.j0 + kJ <= tile.end) {
      const CUtensorMap& map = second ? job.d[1] : job.d[0];
      if (product.d_bf16) {
        store_bf16(map, buffer, i0, tile.j0, total);
      } else {
        store_f32(map, buffer, i0, tile.j0, total);
      }
    } else {
      product.J = tile.end;
      store_outputs<false>(product, i0, tile.j0, total);
    }
  }
  if (threadIdx.x % 64 == 0) store_wait<0>();
#endif
}

OperandBoxes group_boxes(const TensorProduct& product, int64_t rows, int box_rows) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  return {.rows = rows,
          .part = shards.count == 1 ? product.K : shards.steps * kTensorStep,
          .shards = shards.count,
          .box_rows = box_rows,
          .box_k = static_cast<int>(kTileK)};
}

template <int kJ, bool kPByK>
void launch_experts(const GroupProducts& call, cudaStream_t stream) {
  using Pipe = Pipeline<kJ, kPByK, true, kGroupStages<kJ>>;
  constexpr int kBytes = Pipe::kBytes + kGroups * kStoreBytes<kJ> + kAligned;
  static_assert(Pipe::kStages >= 3 && kBytes + static_cast<int>(sizeof(ExpertTiles)) + 256 <= 227 * 1024,
                "sm_90 has no more per block");
  const TensorProduct& one = call.products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  const auto count = static_cast<int>(call.products.size());
  GroupJob job{};
  job.starts = call.starts, job.experts = static_cast<int>(call.experts);
  job.outputs = call.summed ? 1 : count, job.terms = call.summed ? count : 1;
  job.tiles_i = static_cast<int>(tiles_down(one));
  job.part_k = static_cast<int>(shards.count == 1 ? one.K : shards.steps * kTensorStep);
  job.shards = static_cast<int>(shards.count);
  job.d_mapped = true;
  for (int n = 0; n < count; ++n) {
    TensorProduct all = call.products[static_cast<size_t>(n)];
    all.J = call.rows;
    job.p[n] = call.maps[static_cast<size_t>(n)];
    job.q[n] = operand_map(all.q, group_boxes(all, call.rows, kJ));
    job.products[n] = all;
    if (n < job.outputs) job.d_mapped = job.d_mapped && output_has_map(all);
  }
  for (int n = 0; n < job.outputs && job.d_mapped; ++n)
    job.d[n] = output_map(job.products[n], box_columns<kJ>(one.d_bf16));
  const auto kernel = wgmma_experts<kJ, kPByK>;
  allow_shared(kernel, kBytes);
  const int64_t most = (call.rows / kJ + call.experts) * job.tiles_i * job.outputs;
  launch_early(one.early, launch_name(one, {.starts = call.starts}), kernel,
               static_cast<unsigned>(std::min<int64_t>(most, multiprocessors())), kPipelineThreads, kBytes,
               stream, job);
}

template <int kJ>
void launch_experts_by(const GroupProducts& call, cudaStream_t stream) {
  call.products.front().p.by_k ? launch_experts<kJ, true>(call, stream)
                               : launch_experts<kJ, false>(call, stream);
}

}  // namespace

bool wgmma_groups_fit(const TensorProduct& product, int64_t experts) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  return on_hopper() && experts <= kMostExperts && takes_shape(product) && product.q.by_k &&
         !product.accumulate && product.k_rows == nullptr && product.bias == nullptr &&
         product.gradients == nullptr && product.d_i == 1 && product.p.row % kVector == 0 &&
         takes_vectors(product.q) && (shards.count == 1 || product.K % (kTensorStep * shards.count) == 0);
}

CUtensorMap wgmma_group_map(const TensorProduct& product) {
  return operand_map(product.p, group_boxes(product, product.I, kTileI));
}

void wgmma_group_products(const GroupProducts& call, void* stream) {
  R1_CHECK(!call.products.empty() && call.products.size() <= kMostPair && call.rows <= INT32_MAX,
           call.products.size(), " products of experts");
  for (const TensorProduct& product : call.products)
    R1_CHECK(wgmma_groups_fit(product, call.experts), "product of experts, ", product.I, " x ", product.K);
  if (call.rows == 0 || call.products.front().I == 0) return;
  constexpr int64_t kNarrowRows = 64;
  const auto s = static_cast<cudaStream_t>(stream);
  call.typical <= kNarrowRows ? launch_experts_by<64>(call, s) : launch_experts_by<128>(call, s);
}

}  // namespace r1::cuda
