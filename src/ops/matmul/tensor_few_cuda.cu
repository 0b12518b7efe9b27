// ops/matmul/tensor_few_cuda.cu: bf16 products of few rows of Q (decoding), by mma.sync. A warp computes 16 rows of P by
// kJ of Q over a shard, with stages of its own, so that no warp waits for another; the block's warps then add the
// shards in order. The limit is the bandwidth that reads P.
#include <algorithm>

#include "base/error.h"
#include "ops/matmul/tensor_few_cuda.h"
#include "ops/matmul/tensor_launch_cuda.cuh"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kFewWarps = 8, kFewThreads = 32 * kFewWarps;
constexpr int kFewI = 16;

// Which product a block computes, and which of that product's blocks of rows of P it has.
struct FewGroups {
  TensorProduct product;
  TensorGroups groups;
  __host__ __device__ bool early() const { return product.early && groups.starts == nullptr; }
  __device__ int64_t enter(TensorProduct& mine) const {
    mine = product;
    if (groups.count > 1 || groups.starts != nullptr) enter_group(mine, groups, blockIdx.z);
    return blockIdx.y;
  }
};
struct FewList : ProductList {
  __device__ int64_t enter(TensorProduct& mine) const { return select(mine, static_cast<int>(blockIdx.y)); }
};

// kJ rows of Q: 8 or 16. Warp w has shard w % count of rows 16 (w / count) of the block's rows of P.
template <int kJ, int kStages, class Which>
__global__ void __launch_bounds__(kFewThreads)
    tensor_few(const __grid_constant__ Which which, TensorShards shards, bool p_vectors, bool q_vectors) {
  using TileP = TensorTile<kFewI, true>;
  using TileQ = TensorTile<kJ, true>;
  constexpr int kStage = TileP::kElements + TileQ::kElements, kB = kJ / 8;
  extern __shared__ __align__(128) uint16_t few_stages[];
  TensorProduct product;
  let_next_start();
  if (!which.early()) await_previous();
  const int64_t block_y = which.enter(product);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int count = static_cast<int>(shards.count), blocks = kFewWarps / count;  // count divides kFewWarps
  const int64_t j0 = static_cast<int64_t>(blockIdx.x) * kJ, block_i = block_y * blocks * kFewI;
  if (j0 >= product.J) return await_previous();
  const int64_t i0 = block_i + warp / count * kFewI;
  const int64_t begin = warp % count * shards.steps * kTensorStep;
  const int64_t end = min(begin + shards.steps * kTensorStep, product.K);
  uint16_t* const mine = few_stages + warp * kStages * kStage;
  const auto copy_p = [&](int64_t stage) {
    const int64_t k0 = begin + stage * kTileK;
    if (k0 < end && i0 < product.I)
      TileP::template copy<32>(mine + stage % kStages * kStage, product.p, i0, product.I, k0, end, nullptr,
                               p_vectors, lane);
  };
  const auto copy_q = [&](int64_t stage) {
    const int64_t k0 = begin + stage * kTileK;
    if (k0 < end && i0 < product.I)
      TileQ::template copy<32>(mine + stage % kStages * kStage + TileP::kElements, product.q, j0, product.J,
                               k0, end, nullptr, q_vectors, lane);
    copy_commit();
  };
  for (int64_t s = 0; s < kStages - 1; ++s) copy_p(s);
  await_previous();
  for (int64_t s = 0; s < kStages - 1; ++s) copy_q(s);
  float chain[kB][4] = {};
  const int64_t steps = (end - begin + kTensorStep - 1) / kTensorStep,
                stages = (steps + kTileSteps - 1) / kTileSteps;
  for (int64_t stage = 0; stage < stages; ++stage) {
    copy_wait<kStages - 2>();
    __syncwarp();
    copy_p(stage + kStages - 1);
    copy_q(stage + kStages - 1);
    if (i0 >= product.I) continue;
    const uint16_t* p = mine + stage % kStages * kStage;
    const uint16_t* q = p + TileP::kElements;
    const auto step = [&](int s) {
      uint32_t av[4];
      TileP::load_a(av, p, 0, s);
      if constexpr (kB == 2) {
        uint32_t bv[4];
        TileQ::load_b(bv, q, 0, s);
        tensor_mma(chain[0], av, bv);
        tensor_mma(chain[1], av, bv + 2);
      } else {
        // A tile of eight rows has one block per half of the step; blocks 2 and 3 read them again.
        uint32_t bv[4];
        const int block = lane / 8 % 2, line = lane % 8;
        load_blocks<false>(bv, q + TileQ::place(line, 2 * s + block));
        tensor_mma(chain[0], av, bv);
      }
    };
    const int64_t here = steps - stage * kTileSteps;
    if (here >= kTileSteps) {
#pragma unroll
      for (int s = 0; s < kTileSteps; ++s) step(s);
    } else {
      for (int s = 0; s < here; ++s) step(s);
    }
  }
  copy_wait<0>();
  __syncthreads();  // the stages are free
  auto* const sums = reinterpret_cast<float(*)[kFewI][kJ]>(few_stages);
  static_assert(kFewWarps * kStages * kStage * 2 >= kFewWarps * kFewI * kJ * 4);
#pragma unroll
  for (int b = 0; b < kB; ++b) {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      sums[warp][lane / 4 + 8 * (e / 2)][lane % 4 * 2 + 8 * b + e % 2] = chain[b][e];
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < blocks * kFewI * kJ; at += kFewThreads) {
    const int row = at % (blocks * kFewI),
              column = at / (blocks * kFewI);  // neighbours store neighbours in i
    const int64_t i = block_i + row, j = j0 + column;
    if (i >= product.I || j >= product.J) continue;
    const float(*parts)[kFewI][kJ] = sums + row / kFewI * count;
    float total = parts[0][row % kFewI][column];
    for (int s = 1; s < count; ++s) total = __fadd_rn(total, parts[s][row % kFewI][column]);
    store_total(product, i, j, logit_or_gradient(product, i, j, total));
  }
}

template <int kJ, int kStages, class Which>
void launch_few(const Which& which, int64_t J, unsigned blocks, unsigned groups, const TensorShards& shards,
                bool p_vectors, bool q_vectors, cudaStream_t stream) {
  constexpr int kBytes = kFewWarps * kStages * (kFewI + kJ) * kTileK * 2;
  static_assert(kBytes <= 99 * 1024, "sm_89 has no more per block");
  const auto kernel = tensor_few<kJ, kStages, Which>;
  allow_shared(kernel, kBytes);
  const dim3 grid(static_cast<unsigned>((J + kJ - 1) / kJ), blocks, groups);
  launch_early(which.early(), "product y, few rows", kernel, grid, kFewThreads, kBytes, stream, which, shards,
               p_vectors, q_vectors);
}

template <class Which>
void launch_few(const Which& which, int64_t J, unsigned blocks, unsigned groups, const TensorShards& shards,
                bool p_vectors, bool q_vectors, cudaStream_t stream) {
  if (J <= 8) return launch_few<8, 4>(which, J, blocks, groups, shards, p_vectors, q_vectors, stream);
  launch_few<16, 3>(which, J, blocks, groups, shards, p_vectors, q_vectors, stream);
}

unsigned few_blocks(const TensorProduct& product, const TensorShards& shards) {
  const int64_t rows = kFewI * kFewWarps / shards.count;  // a block's rows of P
  return static_cast<unsigned>((product.I + rows - 1) / rows);
}

}  // namespace

bool few_rows_fit(const TensorProduct& product) {
  return product.p.by_k && product.q.by_k && !product.accumulate &&
         tensor_shards(product.K, product.most_shards).count <= kFewWarps;
}

void few_rows_product(const TensorProduct& product, const TensorGroups& groups, void* stream) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  launch_few(FewGroups{product, groups}, product.J, few_blocks(product, shards),
             static_cast<unsigned>(groups.count), shards, p_takes_vectors(product, groups),
             takes_vectors(product.q, groups.q), static_cast<cudaStream_t>(stream));
}

void few_rows_products(std::span<const TensorProduct> products, void* stream) {
  const TensorProduct& one = products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  FewList list{};
  const unsigned blocks =
      fill_list(list, products, [&](const TensorProduct& p) { return few_blocks(p, shards); });
  bool vectors = true;
  for (const TensorProduct& p : products) vectors = vectors && p_takes_vectors(p, {});
  launch_few(list, one.J, blocks, 1, shards, vectors, takes_vectors(one.q),
             static_cast<cudaStream_t>(stream));
}

}  // namespace r1::cuda
