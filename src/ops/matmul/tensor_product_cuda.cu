// ops/matmul/tensor_product_cuda.cu: bf16 products by mma.sync.
//
//   tensor_tiles  a block computes a tile of D; tiles of P and Q wait in shared memory, kStages deep. A thread
//                 keeps the chain of the current shard and the total of the shards before it in registers.
//
// Few rows of Q (decoding) have a kernel of their own: tensor_few_cuda.cu.
#include <algorithm>

#include "base/error.h"
#include "ops/matmul/tensor_few_cuda.h"
#include "ops/matmul/tensor_launch_cuda.cuh"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/matmul/tensor_stream_cuda.h"
#include "ops/matmul/tensor_tile_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

// -0 + x is x, whatever x is.
constexpr float kNothing = -0.0f;

// A block of kDown x kAcross warps; a warp computes kWarpI x kWarpJ outputs.
template <int kDown, int kAcross, int kWarpI, int kWarpJ, int kStageCount>
struct TileShape {
  static constexpr int kThreads = 32 * kDown * kAcross;
  static constexpr int kI = kDown * kWarpI, kJ = kAcross * kWarpJ;
  static constexpr int kDownWarps = kDown, kRowsI = kWarpI, kRowsJ = kWarpJ;
  static constexpr int kStages = kStageCount;
  static constexpr int kBytes = kStages * (kI + kJ) * kTileK * 2;
};
using LargeTile = TileShape<2, 4, 64, 32, 3>;  // 128 x 128
using SmallTile = TileShape<2, 4, 32, 16, 6>;  // 64 x 64
static_assert(LargeTile::kBytes <= 99 * 1024 && SmallTile::kBytes <= 99 * 1024,
              "sm_89 has no more per block");
// 64 x 64 with as many stages as sm_90 has room for: if a multiprocessor has one block, the bytes on their way limit it.
using DeepTile = TileShape<2, 4, 32, 16, 12>;

// The tile of a block: kGroup tiles of j side by side share their rows of P in the second-level cache.
__device__ __forceinline__ void place_of_block(int64_t block, int64_t tiles_i, int64_t tiles_j, int64_t* i,
                                               int64_t* j) {
  constexpr int64_t kGroup = 8;
  const int64_t group = block / (kGroup * tiles_i), at = block % (kGroup * tiles_i);
  const int64_t width = min(kGroup, tiles_j - group * kGroup);
  *i = at / width;
  *j = group * kGroup + at % width;
}

// Which product a block computes, and which of that product's blocks it is.
struct TileGroups {
  TensorProduct product;
  TensorGroups groups;
  // The memory that enter() reads, and P, were there before the kernel ahead was launched.
  __host__ __device__ bool early() const { return product.early && groups.starts == nullptr; }
  __device__ int64_t enter(TensorProduct& mine) const {
    mine = product;
    if (groups.count > 1 || groups.starts != nullptr) enter_group(mine, groups, blockIdx.y);
    return blockIdx.x;
  }
};
struct TileList : ProductList {
  __device__ int64_t enter(TensorProduct& mine) const { return select(mine, static_cast<int>(blockIdx.x)); }
};

template <class Shape, bool kPByK, bool kQByK, bool kSharded, class Which>
__global__ void __launch_bounds__(Shape::kThreads)
    tensor_tiles(const __grid_constant__ Which which, TensorShards shards, bool p_vectors, bool q_vectors) {
  using TileP = TensorTile<Shape::kI, kPByK>;
  using TileQ = TensorTile<Shape::kJ, kQByK>;
  constexpr int kA = Shape::kRowsI / 16, kB = Shape::kRowsJ / 8;
  extern __shared__ __align__(128) uint16_t tensor_stages[];
  uint16_t* const stages_q = tensor_stages + Shape::kStages * TileP::kElements;
  TensorProduct product;
  let_next_start();
  if (!which.early()) await_previous();
  const int64_t block = which.enter(product);
  const int64_t tiles_i = (product.I + Shape::kI - 1) / Shape::kI,
                tiles_j = (product.J + Shape::kJ - 1) / Shape::kJ;
  if (block >= tiles_i * tiles_j) return await_previous();  // an expert with fewer rows than the most
  int64_t tile_i = 0, tile_j = 0;
  place_of_block(block, tiles_i, tiles_j, &tile_i, &tile_j);
  const int64_t i0 = tile_i * Shape::kI, j0 = tile_j * Shape::kJ;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_i = warp % Shape::kDownWarps * Shape::kRowsI,
            warp_j = warp / Shape::kDownWarps * Shape::kRowsJ;
  const int thread = static_cast<int>(threadIdx.x);
  const auto copy_p = [&](int64_t stage) {
    if (stage * kTileK >= product.K) return;
    TileP::template copy<Shape::kThreads>(tensor_stages + stage % Shape::kStages * TileP::kElements,
                                          product.p, i0, product.I, stage * kTileK, product.K, product.k_rows,
                                          p_vectors, thread);
  };
  const auto copy_q = [&](int64_t stage) {
    if (stage * kTileK < product.K)
      TileQ::template copy<Shape::kThreads>(stages_q + stage % Shape::kStages * TileQ::kElements, product.q,
                                            j0, product.J, stage * kTileK, product.K, product.k_rows,
                                            q_vectors, thread);
    copy_commit();  // also if it is empty: waits count commits
  };
  for (int64_t s = 0; s < Shape::kStages - 1; ++s) copy_p(s);
  await_previous();
  for (int64_t s = 0; s < Shape::kStages - 1; ++s) copy_q(s);

  // Element e of (a, b) is at i = first_i + 16 a + 8 (e / 2), j = first_j + 8 b + e % 2.
  int64_t first_i = i0 + warp_i + lane / 4, first_j = j0 + warp_j + lane % 4 * 2;
  float chain[kA][kB][4], total[kSharded ? kA : 1][kSharded ? kB : 1][4];
#pragma unroll
  for (int a = 0; a < kA; ++a) {
#pragma unroll
    for (int b = 0; b < kB; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        chain[a][b][e] = 0.0f;
        if constexpr (kSharded) total[a][b][e] = kNothing;
        const int64_t i = first_i + 16 * a + 8 * (e / 2), j = first_j + 8 * b + e % 2;
        if (product.accumulate && i < product.I && j < product.J)
          chain[a][b][e] = static_cast<const float*>(product.d)[i * product.d_i + j * product.d_j];
      }
    }
  }
  const auto step = [&](const uint16_t* p, const uint16_t* q, int s) {
    uint32_t av[kA][4], bv[kB / 2][4];
#pragma unroll
    for (int a = 0; a < kA; ++a) TileP::load_a(av[a], p, warp_i + 16 * a, s);
#pragma unroll
    for (int b = 0; b < kB / 2; ++b) TileQ::load_b(bv[b], q, warp_j + 16 * b, s);
#pragma unroll
    for (int a = 0; a < kA; ++a) {
#pragma unroll
      for (int b = 0; b < kB; ++b) tensor_mma(chain[a][b], av[a], bv[b / 2] + b % 2 * 2);
    }
  };
  const auto end_shard = [&] {
    if constexpr (kSharded) {
#pragma unroll
      for (int a = 0; a < kA; ++a) {
#pragma unroll
        for (int b = 0; b < kB; ++b) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            total[a][b][e] = __fadd_rn(total[a][b][e], chain[a][b][e]);
            chain[a][b][e] = 0.0f;
          }
        }
      }
    }
  };

  const int64_t steps = (product.K + kTensorStep - 1) / kTensorStep,
                stages = (steps + kTileSteps - 1) / kTileSteps;
  int64_t left = shards.steps;  // of the current shard
  for (int64_t stage = 0; stage < stages; ++stage) {
    copy_wait<Shape::kStages - 2>();
    __syncthreads();
    copy_p(stage + Shape::kStages - 1);
    copy_q(stage + Shape::kStages - 1);
    const uint16_t* p = tensor_stages + stage % Shape::kStages * TileP::kElements;
    const uint16_t* q = stages_q + stage % Shape::kStages * TileQ::kElements;
    const int64_t here = steps - stage * kTileSteps;
    if (here >= kTileSteps && (!kSharded || left >= kTileSteps)) {
#pragma unroll
      for (int s = 0; s < kTileSteps; ++s) step(p, q, s);
      left -= kTileSteps;
      if (kSharded && left == 0) end_shard(), left = shards.steps;
    } else {
#pragma unroll 1
      for (int s = 0; s < kTileSteps && s < here; ++s) {
        step(p, q, s);
        if (kSharded && --left == 0) end_shard(), left = shards.steps;
      }
    }
  }

  forget(first_i), forget(first_j);
#pragma unroll
  for (int a = 0; a < kA; ++a) {
#pragma unroll
    for (int b = 0; b < kB; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t i = first_i + 16 * a + 8 * (e / 2), j = first_j + 8 * b + e % 2;
        if (i >= product.I || j >= product.J) continue;
        if constexpr (kSharded) {
          store_total(product, i, j, logit_or_gradient(product, i, j, total[a][b][e]));
        } else {
          store_total(product, i, j, logit_or_gradient(product, i, j, chain[a][b][e]));
        }
      }
    }
  }
}

template <class Shape>
int64_t tile_blocks(const TensorProduct& product) {
  return (product.I + Shape::kI - 1) / Shape::kI * ((product.J + Shape::kJ - 1) / Shape::kJ);
}

template <class Shape, bool kPByK, bool kQByK, bool kSharded, class Which>
void launch_grid(const char* name, const Which& which, dim3 grid, const TensorShards& shards, bool p_vectors,
                 bool q_vectors, cudaStream_t stream) {
  const auto kernel = tensor_tiles<Shape, kPByK, kQByK, kSharded, Which>;
  allow_shared(kernel, Shape::kBytes);
  launch_early(which.early(), name, kernel, grid, Shape::kThreads, Shape::kBytes, stream, which, shards,
               p_vectors, q_vectors);
}

template <class Shape, bool kPByK, bool kQByK, bool kSharded>
void launch_tiles(const TensorProduct& product, const TensorGroups& groups, const TensorShards& shards,
                  cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(tile_blocks<Shape>(product)), static_cast<unsigned>(groups.count));
  launch_grid<Shape, kPByK, kQByK, kSharded>(launch_name(product, groups), TileGroups{product, groups}, grid,
                                             shards, p_takes_vectors(product, groups),
                                             takes_vectors(product.q, groups.q), stream);
}

// True if the device has room for the stages of DeepTile.
bool has_deep_tiles() {
  return most_shared() >= DeepTile::kBytes;
}
// True if DeepTile is for this product: its tiles, which are those of SmallTile, are at most one per multiprocessor.
bool takes_deep_tiles(const TensorProduct& product, const TensorGroups& groups) {
  return product.p.by_k && product.q.by_k &&
         tile_blocks<DeepTile>(product) * groups.count <= multiprocessors() && has_deep_tiles();
}
void launch_deep(const TensorProduct& product, const TensorGroups& groups, cudaStream_t stream) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  if (shards.count > 1) return launch_tiles<DeepTile, true, true, true>(product, groups, shards, stream);
  launch_tiles<DeepTile, true, true, false>(product, groups, shards, stream);
}

template <class Shape>
void launch_layout(const TensorProduct& product, const TensorGroups& groups, cudaStream_t stream) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  const bool sharded = shards.count > 1;
  if (product.p.by_k) {
    R1_CHECK(product.q.by_k, "no product takes P by k and Q otherwise");
    return sharded ? launch_tiles<Shape, true, true, true>(product, groups, shards, stream)
                   : launch_tiles<Shape, true, true, false>(product, groups, shards, stream);
  }
  if (product.q.by_k) {
    return sharded ? launch_tiles<Shape, false, true, true>(product, groups, shards, stream)
                   : launch_tiles<Shape, false, true, false>(product, groups, shards, stream);
  }
  R1_CHECK(!sharded, "a product over tokens has one shard");
  launch_tiles<Shape, false, false, false>(product, groups, shards, stream);
}

TensorKernel pick(const TensorProduct& product, const TensorGroups& groups) {
  const int64_t rows = groups.starts != nullptr ? std::min(product.J, groups.typical) : product.J;
  // Small tiles read P once for every kJ rows; the kernel for few rows once for every 16.
  const int64_t small = (product.I + SmallTile::kI - 1) / SmallTile::kI *
                        ((rows + SmallTile::kJ - 1) / SmallTile::kJ) * groups.count;
  constexpr int64_t kFewRows = 64;
  const bool alone = groups.count == 1 && groups.starts == nullptr;
  if (alone && tensor_kernel_fits(product, TensorKernel::streamed)) return TensorKernel::streamed;
  if (alone && wgmma_shards_pay(product)) return TensorKernel::wgmma_shards;
  const bool few = alone ? product.I * rows <= kFewOutputs : rows <= kFewRows && small < multiprocessors();
  if ((rows <= 16 || few) && tensor_kernel_fits(product, TensorKernel::few_rows))
    return TensorKernel::few_rows;
  const int64_t large = (product.I + LargeTile::kI - 1) / LargeTile::kI *
                        ((rows + LargeTile::kJ - 1) / LargeTile::kJ) * groups.count;
  // wgmma is so much faster that it pays on fewer multiprocessors; most of all in the forward.
  constexpr int64_t kShare = 5, kOf = 2;
  if (large < multiprocessors() && !(alone && wgmma_shards_fit(product)) &&
      (kShare * large < kOf * multiprocessors() || groups.count > 1 || groups.starts != nullptr ||
       !tensor_kernel_fits(product, TensorKernel::wgmma)))
    return TensorKernel::small_tiles;
  return groups.count == 1 && groups.starts == nullptr && tensor_kernel_fits(product, TensorKernel::wgmma)
             ? wgmma_wide_pays(product) ? TensorKernel::wgmma_wide : TensorKernel::wgmma
             : TensorKernel::large_tiles;
}

void launch(const TensorProduct& product, const TensorGroups& groups, TensorKernel kernel, void* stream) {
  if (product.I == 0 || product.J == 0 || groups.count == 0) return;
  R1_CHECK(tensor_kernel_fits(product, kernel) && !(product.accumulate && product.d_bf16), "product of ",
           product.I, " x ", product.J, " x ", product.K);
  const auto s = static_cast<cudaStream_t>(stream);
  switch (kernel) {
    case TensorKernel::streamed:
      R1_CHECK(groups.count == 1 && groups.starts == nullptr, "groups are not streamed");
      return stream_products({.products = {&product, 1}}, stream);
    case TensorKernel::few_rows:
      return few_rows_product(product, groups, s);
    case TensorKernel::small_tiles:
      if (takes_deep_tiles(product, groups)) return launch_deep(product, groups, s);
      return launch_layout<SmallTile>(product, groups, s);
    case TensorKernel::large_tiles:
      return launch_layout<LargeTile>(product, groups, s);
    case TensorKernel::wgmma_shards:
      return wgmma_shards_products({&product, 1}, stream);
    case TensorKernel::wgmma:
    case TensorKernel::wgmma_wide:
      return wgmma_products({&product, 1}, kernel == TensorKernel::wgmma_wide, stream);
  }
}

}  // namespace

bool tensor_kernel_fits(const TensorProduct& product, TensorKernel kernel) {
  if (kernel == TensorKernel::wgmma || kernel == TensorKernel::wgmma_wide) return wgmma_fits(product);
  if (kernel == TensorKernel::streamed) return stream_fits({.products = {&product, 1}});
  if (kernel == TensorKernel::wgmma_shards) return wgmma_shards_fit(product);
  if (kernel != TensorKernel::few_rows) return true;
  return few_rows_fit(product);
}

void tensor_product(const TensorProduct& product, TensorKernel kernel, void* stream) {
  launch(product, {}, kernel, stream);
}

void tensor_product(const TensorProduct& product, void* stream) {
  launch(product, {}, pick(product, {}), stream);
}

void tensor_products(const TensorProduct& product, const TensorGroups& groups, TensorKernel kernel,
                     void* stream) {
  launch(product, groups, kernel, stream);
}

void tensor_products(const TensorProduct& product, const TensorGroups& groups, void* stream) {
  constexpr int64_t kManyTokens = 256;
  if (groups.count > 1 && product.J >= kManyTokens && wgmma_heads_fit(product, groups))
    return wgmma_heads_product(product, groups, stream);
  launch(product, groups, pick(product, groups), stream);
}

void tensor_products_of(std::span<const TensorProduct> products, void* stream) {
  R1_CHECK(!products.empty() && products.size() <= kMostProducts, products.size(), " products");
  const TensorProduct& one = products.front();
  if (one.J == 0) return;
  TensorProduct all = one;  // as if it were one product with all rows
  all.I = 0;
  bool vectors = true;
  for (const TensorProduct& p : products) {
    R1_CHECK(p.q.data == one.q.data && p.J == one.J && p.K == one.K && p.most_shards == one.most_shards,
             "products of different inputs");
    all.I += p.I;
    vectors = vectors && p_takes_vectors(p, {});
  }
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  const auto s = static_cast<cudaStream_t>(stream);
  if (stream_fits({.products = products})) return stream_products({.products = products}, stream);
  const TensorKernel kernel = pick(all, {});
  if (kernel == TensorKernel::few_rows) return few_rows_products(products, stream);
  if (kernel == TensorKernel::small_tiles && takes_deep_tiles(all, {})) {
    TileList list{};
    const dim3 grid(
        fill_list(list, products, [](const TensorProduct& p) { return tile_blocks<DeepTile>(p); }));
    if (shards.count > 1)
      return launch_grid<DeepTile, true, true, true>(launch_name(one), list, grid, shards, vectors,
                                                     takes_vectors(one.q), s);
    return launch_grid<DeepTile, true, true, false>(launch_name(one), list, grid, shards, vectors,
                                                    takes_vectors(one.q), s);
  }
  const bool alike = std::all_of(products.begin(), products.end(), [&](const TensorProduct& p) {
    return tensor_kernel_fits(p, kernel) && p.d_bf16 == one.d_bf16 && p.p.by_k == one.p.by_k;
  });
  if (kernel == TensorKernel::wgmma_shards && alike) return wgmma_shards_products(products, stream);
  if ((kernel == TensorKernel::wgmma || kernel == TensorKernel::wgmma_wide) && alike && one.q.by_k)
    return wgmma_products(products, kernel == TensorKernel::wgmma_wide, stream);
  for (const TensorProduct& p : products) tensor_product(p, stream);
}

}  // namespace r1::cuda
