// ops/matmul/tensor_shards_sm90.cu: bf16 products by wgmma whose shards are computed side by side, for the rows of
// decoding on Hopper GPUs (sm_90a): one tile that walks a long K alone would leave most of the device idle.
//
// The blocks of a cluster compute the shards of one tile of 128 x kJ outputs, a chain each, and leave them in their shared
// memory. Then each block adds a part of the tile's outputs over all shards in order, reading the others' shared memory.
#include <array>

#include "base/error.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "ops/matmul/tensor_product_sm90.h"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kShardThreads = kMultipliers + 32;  // a warp copies
constexpr int kShardStages = 3;                   // two blocks on a multiprocessor
constexpr int64_t kMostCluster = 8;

template <int kJ>
using ShardPipe = Pipeline<kJ, true, true, kShardStages>;

// Four floats at the same place of block `rank` of the cluster.
__device__ __forceinline__ float4 load_from_block(uint32_t address, uint32_t rank) {
  float4 v;
  asm volatile(
      "{.reg .b32 r; mapa.shared::cluster.u32 r, %4, %5; ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [r];}"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(address), "r"(rank)
      : "memory");
  return v;
}

// Stores a warp's 16 x 8 outputs, in the layout of mma.sync, from (i0, j0) on.
__device__ __forceinline__ void store_block(const TensorProduct& product, int64_t i0, int64_t j0,
                                            const float (&total)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const bool pairs = product.d_bf16 && product.d_i == 1 && product.d_j % 2 == 0 && i0 + 16 <= product.I &&
                     reinterpret_cast<uintptr_t>(product.d) % 4 == 0;
  if (pairs) {  // the lanes transpose 8 x 8 outputs to hold neighbours in i
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t i = i0 + g + 8 * half;
      const uint32_t low = bf16_bits(add_bias(product, i, total[2 * half]));
      const uint32_t high = bf16_bits(add_bias(product, i, total[2 * half + 1]));
      const uint32_t turned = transpose_block(low | high << 16);
      if (j0 + g < product.J)
        *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(product.d) + i0 + 8 * half + 2 * t +
                                     (j0 + g) * product.d_j) = turned;
    }
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int64_t i = i0 + g + 8 * (e / 2), j = j0 + 2 * t + e % 2;
    if (i < product.I && j < product.J) store_total(product, i, j, total[e]);
  }
}

template <int kJ>
__global__ void __launch_bounds__(kShardThreads, 2) wgmma_shards(const __grid_constant__ Job job) {
#ifdef R1_HAS_WGMMA
  using Pipe = ShardPipe<kJ>;
  constexpr int kCount = Pipe::kCount, kQuads = kCount / 4;
  static_assert(kMultipliers * kCount * 4 <= Pipe::kBytes, "chains take the place of the stages");
  extern __shared__ uint8_t shard_stages[];
  __shared__ uint64_t barriers[2 * kShardStages];
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(shard_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  Pipe pipe{stages, full, full + 8 * kShardStages, 1, 0};
  if (threadIdx.x == 0) pipe.init();
  __syncthreads();
  const int rank = static_cast<int>(cluster_rank()), tile = static_cast<int>(blockIdx.x) / job.shards;
  const int tile_i = tile / job.tiles_j, part_at = job.part_of(tile_i);
  const Part& part = job.parts[part_at];
  const int i0 = (tile_i - part.first_tile) * kTileI, j0 = tile % job.tiles_j * kJ;
  const ChainAt chain_at{0, rank, job.part_k};
  const uint32_t mine = stages + threadIdx.x * 16;  // quad q of a thread lies 16 * kMultipliers * q bytes on
  if (threadIdx.x >= kMultipliers) {
    if (!part.product.early) await_previous();
    if (threadIdx.x == kMultipliers) pipe.copy_early(part.p, job.q, chain_at, i0, j0);
  } else {
    await_previous();
    float chain[kCount];
#pragma unroll
    for (float& c : chain) c = 0.0f;
    pipe.sum(chain, chain_at, true);
    named_sync(kAllBarrier, kMultipliers);  // nobody reads the stages any more
#pragma unroll
    for (int q = 0; q < kQuads; ++q)
      asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(mine + 16 * kMultipliers * q),
                   "f"(chain[4 * q]), "f"(chain[4 * q + 1]), "f"(chain[4 * q + 2]), "f"(chain[4 * q + 3])
                   : "memory");
  }
  __syncwarp();
  cluster_sync();
  if (threadIdx.x < kMultipliers) {
    const int quads = kQuads / job.shards;
    for (int q = rank * quads; q < (rank + 1) * quads; ++q) {
      const uint32_t place = mine + static_cast<uint32_t>(16 * kMultipliers * q);
      float4 from[kMostCluster];
#pragma unroll
      for (int s = 0; s < kMostCluster; ++s) {
        if (s < job.shards) from[s] = load_from_block(place, static_cast<uint32_t>(s));
      }
      float total[4] = {from[0].x, from[0].y, from[0].z, from[0].w};
#pragma unroll
      for (int s = 1; s < kMostCluster; ++s) {
        if (s >= job.shards) continue;
        total[0] = __fadd_rn(total[0], from[s].x), total[1] = __fadd_rn(total[1], from[s].y);
        total[2] = __fadd_rn(total[2], from[s].z), total[3] = __fadd_rn(total[3], from[s].w);
      }
      store_block(part.product, i0 + static_cast<int>(threadIdx.x) / 32 * 16, j0 + 8 * q, total);
    }
  }
  cluster_wait();  // others may still read this block's chains
#endif
}

template <int kJ>
void launch_shards(std::span<const TensorProduct> products, cudaStream_t stream) {
  constexpr int kBytes = ShardPipe<kJ>::kBytes + kAligned;
  static_assert(2 * (kBytes + 1024) <= 228 * 1024, "two blocks on a multiprocessor");
  const TensorProduct& one = products.front();
  const Job job = make_job<kJ>(products, 1, false);
  const auto kernel = wgmma_shards<kJ>;
  allow_shared(kernel, kBytes);
  std::array<cudaLaunchAttribute, 2> attributes{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(job.shards), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(job.tiles_i * job.tiles_j * job.shards);
  config.blockDim = kShardThreads;
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = one.early && starts_early() ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, job), "product y, shards");
  check_launch("product y, shards");
}

}  // namespace

bool wgmma_shards_fit(const TensorProduct& product) {
  const int64_t count = tensor_shards(product.K, product.most_shards).count;
  return on_hopper() && takes_shape(product) && product.p.by_k && product.q.by_k && !product.accumulate &&
         product.gradients == nullptr && takes_vectors(product.p) && takes_vectors(product.q) && count > 1 &&
         count <= kMostCluster;
}

bool wgmma_shards_pay(const TensorProduct& product) {
  constexpr int64_t kFewRowsMost = 32;
  if (product.J <= kFewRowsMost || !wgmma_shards_fit(product)) return false;
  // Times in us beside those of a launch, measured on an H200: a block of a cluster has the exchange and its stages, of
  // which the device does 132 at a time; a block that walks all of K waits longer per stage if all do so.
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  const auto stages = static_cast<double>((shards.steps + kTileSteps - 1) / kTileSteps);
  const int64_t down = tiles_down(product), tiles = down * tiles_across<128>(product),
                blocks = (product.J <= 64 ? down : tiles) * shards.count, at_once = multiprocessors();
  const double side_by_side =
      static_cast<double>(blocks) * (0.03 + 0.0045 * stages) * 132 / static_cast<double>(at_once);
  const double walk = static_cast<double>((tiles + at_once - 1) / at_once * shards.count) * stages *
                      (2 * tiles <= at_once ? 0.33 : 0.5);
  return side_by_side < walk;
}

void wgmma_shards_products(std::span<const TensorProduct> products, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  return products.front().J <= 64 ? launch_shards<64>(products, s) : launch_shards<128>(products, s);
}

}  // namespace r1::cuda
