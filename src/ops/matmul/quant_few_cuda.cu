// ops/matmul/quant_few_cuda.cu: products of quantised matrices with few rows of x, by mma.sync: those that quant_stream()
// does not take. These are products of more than eight rows, of FP8 and of experts, and all before sm_90.
//
// A block has 8 warps; as in the kernel for bf16, the warps of a tile of 16 rows have its shards of K, which are then added
// in order. A warp copies its part of the tile, which is one piece of memory, through stages of its own and reads fragments
// from them. One row of x (kJ = 1) waits in shared memory as a whole; more rows come with the stages.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "ops/matmul/quant_product_cuda.h"
#include "ops/matmul/quant_stream_cuda.h"
#include "ops/matmul/quant_tiles_cuda.cuh"
#include "ops/matmul/tensor_launch_cuda.cuh"
#include "ops/matmul/tensor_tile_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kRows = static_cast<int>(kTileRows);
constexpr int kLeastShared = 99 * 1024;  // sm_89 has no more per block

// Numbers that all products of a launch share, and those of each.
struct QuantLaunch {
  struct One {
    TensorProduct product;
    const std::byte* tiles;
    int tile_count;
    int first;  // the number of the first item
  };
  One of[kMostProducts];
  TensorGroups groups;
  int64_t bytes_of_tile;
  int K, shards, steps;  // K of x, the shards of K, and the steps of a shard
  int items;             // an item: 8 / shards tiles of 16 rows
  int slots;             // stages of a warp that exist: fewer than kStages if its part of K is short
  bool early;
};

// A warp copies one tile.
struct QuantTile {
  const std::byte *data, *fp8_scales;  // scales: of the tile's row of blocks
};

// A warp's stages. kHalves: halves of a piece in one.
template <Format kFormat, int kJ, int kHalves, int kStages>
struct QuantStages {
  using Is = tiles::Traits<kFormat>;
  static constexpr bool kFp8 = Is::kScales == TileScales::of_matrix;
  static constexpr int kHead = kFp8 ? 16 : Is::kHead + Is::kExtra;
  static constexpr int kTile = kHead + kHalves * Is::kHalf;
  static constexpr int kX = kJ == 1 ? 0 : kJ * static_cast<int>(kTileHalf) * 2;
  static constexpr int kStage = kTile + kX;
  static constexpr int kUnit = kHalves * kHalfSteps;  // steps of a stage
  static constexpr int kSums = 2 * kWarps * kRows * kJ * 4;
  static_assert(kJ == 1 || kHalves == 1);
  static_assert(kTile % 16 == 0);
  // The most stages that a shard of so many steps can need.
  static int slots_of(int64_t steps) {
    return static_cast<int>(
        std::min<int64_t>(kStages, (steps + kUnit - 1) / kUnit + (steps % kUnit != 0 ? 1 : 0)));
  }

  static __device__ __forceinline__ void copy_run(std::byte* to, const std::byte* from, int vectors,
                                                  int lane) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    for (int v = lane; v < vectors; v += 32) copy_async(at + 16 * v, from + 16 * v, 16);
  }
  // Unit u of the tile: a half or a piece.
  static __device__ __forceinline__ void copy_tile(std::byte* stage, const QuantTile& tile, int u, int K,
                                                   int lane) {
    constexpr int kWide = kHalves * static_cast<int>(kTileHalf);
    const std::byte* const piece = tile.data + static_cast<int64_t>(kHalves == 2 ? u : u / 2) * Is::kPiece;
    const int half = kHalves == 2 ? 0 : u % 2, left = K - u * kWide;
    if constexpr (kFp8) {
      if (lane < kHalves && lane * kTileHalf < left) {
        const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(stage + 4 * (half + lane)));
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to),
                     "l"(tile.fp8_scales + 4 * (u * kHalves + lane))
                     : "memory");
      }
    } else {
      copy_run(stage, piece, kHead / 16, lane);
    }
    const std::byte* const codes = piece + (kFp8 ? 0 : kHead) + half * Is::kHalf;
    if (left >= kWide) {
      copy_run(stage + kHead, codes, kHalves * Is::kHalf / 16, lane);
    } else {
      copy_run(stage + kHead, codes, Is::kBytes ? (left + 31) / 32 * 32 : (left + 63) / 64 * 32, lane);
    }
  }
  // Rows of x at half `half`: vector c of row r lies at place c ^ (r % 8).
  static __device__ __forceinline__ void copy_x(std::byte* stage, const uint16_t* x, int64_t x_row, int rows,
                                                int half, int K, int lane) {
    auto* const to = reinterpret_cast<uint16_t*>(stage + kTile);
#pragma unroll
    for (int v = lane; v < kJ * 16; v += 32) {
      const int row = v / 16, c = v % 16, k = half * static_cast<int>(kTileHalf) + c * 8;
      const bool here = row < rows && k < K;
      copy_async(static_cast<uint32_t>(__cvta_generic_to_shared(to + row * kTileHalf + (c ^ row % 8) * 8)),
                 here ? x + row * x_row + k : x, here ? 16 : 0);
    }
  }
};

// Blocks stay and take an item after the other, so that the tiles of the next one are on their way before the sums of
// this one are added.
template <Format kFormat, int kJ, int kHalves, int kStages>
__global__ void __launch_bounds__(kThreads, kJ == 16  ? 2
                                            : kJ == 8 ? 3
                                                      : 4)
    quant_few(const __grid_constant__ QuantLaunch launch) {
  using Stages = QuantStages<kFormat, kJ, kHalves, kStages>;
  using Is = tiles::Traits<kFormat>;
  constexpr int kB = kJ == 16 ? 2 : 1, kUnit = Stages::kUnit;
  extern __shared__ __align__(128) std::byte quant_stages[];
  let_next_start();
  if (!launch.early) await_previous();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32,
            t = lane % 4;
  const int shards = launch.shards, in_item = kWarps / shards;  // shards divides kWarps
  const int j0 = static_cast<int>(blockIdx.x) * kJ;
  const std::byte* expert = nullptr;
  int64_t first_row = 0;
  int rows = static_cast<int>(launch.of[0].product.J) - j0;
  if (launch.groups.starts != nullptr) {
    expert = reinterpret_cast<const std::byte*>(launch.groups.matrices[blockIdx.z]);
    first_row = launch.groups.starts[blockIdx.z];
    rows = static_cast<int>(launch.groups.starts[blockIdx.z + 1] - first_row) - j0;
  }
  if (rows <= 0) return await_previous();
  // Which product an item belongs to.
  const auto one_of = [&](int item) {
    int n = 0;
#pragma unroll
    for (int m = 1; m < static_cast<int>(kMostProducts); ++m) n = item >= launch.of[m].first ? m : n;
    return n;
  };
  const auto tile_of = [&](int item) {
    const QuantLaunch::One& one = launch.of[one_of(item)];
    // A warp without a tile takes the last one, whose rows it does not store.
    const int tile = min((item - one.first) * in_item + warp / shards, one.tile_count - 1);
    const std::byte* const matrix = expert != nullptr ? expert : one.tiles;
    QuantTile out{matrix + tile * launch.bytes_of_tile, nullptr};
    if constexpr (Stages::kFp8) {
      constexpr int kBlock = static_cast<int>(kFp8Block);
      const int columns = (launch.K + kBlock - 1) / kBlock;
      out.fp8_scales = matrix + one.tile_count * launch.bytes_of_tile + tile * kRows / kBlock * columns * 4;
    }
    return out;
  };
  const int begin = warp % shards * launch.steps, end = min(begin + launch.steps, launch.K / 16);
  const int unit0 = begin / kUnit, units = (end + kUnit - 1) / kUnit - unit0;
  std::byte* const stages = quant_stages + warp * launch.slots * Stages::kStage;
  auto* const sums =
      reinterpret_cast<float(*)[kWarps][kRows][kJ]>(quant_stages + kWarps * launch.slots * Stages::kStage);
  const uint16_t* const x = launch.of[0].product.q.data + (first_row + j0) * launch.of[0].product.q.row;
  const int64_t x_row = launch.of[0].product.q.row;

  // The unit that is copied next, kStages ahead.
  int next_item = static_cast<int>(blockIdx.y), next_unit = 0;
  QuantTile next_tile = tile_of(next_item);
  const auto advance = [&] {
    if (++next_unit < units) return;
    next_unit = 0;
    next_item += static_cast<int>(gridDim.y);
    if (next_item < launch.items) next_tile = tile_of(next_item);
  };
  const int slots = launch.slots;
  for (int i = 0; i < slots; ++i) {
    if (next_item < launch.items)
      Stages::copy_tile(stages + i * Stages::kStage, next_tile, unit0 + next_unit, launch.K, lane);
    if constexpr (kJ == 1) {
      copy_commit();
      advance();
    } else {
      advance();
    }
  }
  await_previous();
  auto* const row = reinterpret_cast<uint32_t*>(reinterpret_cast<std::byte*>(sums) + Stages::kSums) +
                    warp * launch.steps * 8;  // kJ == 1: this shard of x
  if constexpr (kJ == 1) {
    const auto* const from = reinterpret_cast<const uint4*>(x + begin * 16);
    for (int v = lane; v < (end - begin) * 2; v += 32) reinterpret_cast<uint4*>(row)[v] = from[v];
    __syncwarp();
  } else {
    int unit = 0;
    for (int i = 0; i < slots; ++i) {
      Stages::copy_x(stages + i * Stages::kStage, x, x_row, rows, unit0 + unit, launch.K, lane);
      copy_commit();
      unit = unit + 1 < units ? unit + 1 : 0;
    }
  }
  int slot = 0, parity = 0;
#pragma unroll 1
  for (int item = static_cast<int>(blockIdx.y); item < launch.items; item += static_cast<int>(gridDim.y)) {
    float chain[kB][4] = {};
#pragma unroll 1
    for (int u = unit0; u < unit0 + units; ++u) {
      // As many groups as there are slots have been committed since.
      if (slots == kStages) {
        copy_wait<kStages - 1>();
      } else {
        copy_wait<0>();
      }
      __syncwarp();
      std::byte* const stage = stages + slot * Stages::kStage;
      const auto* const lines = reinterpret_cast<const uint16_t*>(stage + Stages::kTile);
#pragma unroll 1
      for (int h = 0; h < kHalves; ++h) {
        const int half = u * kHalves + h, at = half * kHalfSteps;
        const uint32_t* const row_here = row + (at - begin) * 8 + t;
        uint32_t bv[4];
        const auto step = [&](int s, const uint32_t(&a)[4]) {
          if constexpr (kJ == 1) {
            // Every column is the one row.
            bv[0] = row_here[8 * s], bv[1] = row_here[8 * s + 4];
            tensor_mma(chain[0], a, bv);
          } else if constexpr (kJ == 8) {
            // Four blocks of eight k: two steps.
            const int line = lane % 8, c = 4 * (s / 2) + lane / 8;
            load_blocks<false>(bv, lines + line * kTileHalf + (c ^ line) * 8);
            tensor_mma(chain[0], a, bv + s % 2 * 2);
          } else {
            const int line = lane / 16 * 8 + lane % 8, c = 2 * s + lane / 8 % 2;
            load_blocks<false>(bv, lines + line * kTileHalf + (c ^ line % 8) * 8);
            tensor_mma(chain[0], a, bv);
            tensor_mma(chain[1], a, bv + 2);
          }
        };
        const std::byte* const codes = stage + Stages::kHead + h * Is::kHalf;
        if (at >= begin && at + kHalfSteps <= end) {
          each_step<kFormat, false, true>(stage, codes, half % 2, 0, kHalfSteps, step);
        } else {
          each_step<kFormat, false, false>(stage, codes, half % 2, max(begin - at, 0),
                                           min(end - at, kHalfSteps), step);
        }
      }
      __syncwarp();  // the stage is free
      if (next_item < launch.items) {
        Stages::copy_tile(stage, next_tile, unit0 + next_unit, launch.K, lane);
        if constexpr (kJ > 1) Stages::copy_x(stage, x, x_row, rows, unit0 + next_unit, launch.K, lane);
      }
      copy_commit();  // also if it is empty: waits count commits
      advance();
      slot = slot + 1 < slots ? slot + 1 : 0;
    }
    // The shards are added in order. Sums of the next item but one take the same place: a barrier lies between.
#pragma unroll
    for (int b = 0; b < kB; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = t * 2 + 8 * b + e % 2;
        if (column < kJ) sums[parity][warp][lane / 4 + 8 * (e / 2)][column] = chain[b][e];
      }
    }
    __syncthreads();
    for (int at = static_cast<int>(threadIdx.x); at < in_item * kRows * kJ; at += kThreads) {
      const int r = at % (in_item * kRows),
                column = at / (in_item * kRows);  // neighbours store neighbours in i
      const QuantLaunch::One& one = launch.of[one_of(item)];
      const int i = (item - one.first) * in_item * kRows + r;
      if (i >= one.product.I || column >= rows) continue;
      const float(*parts)[kRows][kJ] = sums[parity] + r / kRows * shards;
      float total = parts[0][r % kRows][column];
      for (int s = 1; s < shards; ++s) total = __fadd_rn(total, parts[s][r % kRows][column]);
      store_total(one.product, i, first_row + j0 + column, total);
    }
    parity ^= 1;
  }
}

template <Format kFormat, int kJ, int kHalves, int kStages>
void launch_kernel(QuantLaunch launch, int64_t J, unsigned groups, void* stream) {
  using Stages = QuantStages<kFormat, kJ, kHalves, kStages>;
  launch.slots = Stages::slots_of(launch.steps);
  const int bytes =
      kWarps * launch.slots * Stages::kStage + Stages::kSums + (kJ == 1 ? kWarps * launch.steps * 32 : 0);
  const auto kernel = quant_few<kFormat, kJ, kHalves, kStages>;
  // Every launch of the kernel sets one value, so threads may launch it side by side.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared()),
        "cudaFuncSetAttribute");
  // As many blocks as there is room for at a time.
  constexpr int kMostBlocks = kJ == 16 ? 2 : kJ == 8 ? 3 : 4, kReserved = 1024;
  const int per_processor = std::clamp((most_shared() + kReserved) / (bytes + kReserved), 1, kMostBlocks);
  const auto across = static_cast<unsigned>((J + kJ - 1) / kJ);
  // Most blocks of experts have no rows and end at once.
  const unsigned room = groups > 1
                            ? static_cast<unsigned>(launch.items)
                            : std::max(1u, static_cast<unsigned>(multiprocessors() * per_processor) / across);
  const dim3 grid(across, std::min(static_cast<unsigned>(launch.items), room), groups);
  launch_early(launch.early, name_of_quant_launch(kFormat), kernel, grid, kThreads,
               static_cast<size_t>(bytes), stream, launch);
}

template <Format kFormat>
void launch_format(const QuantLaunch& launch, int64_t J, unsigned groups, void* stream) {
  using Is = tiles::Traits<kFormat>;
  // Stages: about five kilobytes on their way per warp.
  constexpr int kHalves = Is::kBytes ? 1 : 2, kDeep = Is::kBytes ? 3 : 2;
  using One = QuantStages<kFormat, 1, kHalves, kDeep>;
  const int64_t one_row =
      kWarps * (One::slots_of(launch.steps) * One::kStage + launch.steps * 32) + One::kSums;
  if (J == 1 && one_row <= most_shared())
    return launch_kernel<kFormat, 1, kHalves, kDeep>(launch, J, groups, stream);
  using Eight = QuantStages<kFormat, 8, 1, 2>;
  using Sixteen = QuantStages<kFormat, 16, 1, 2>;
  static_assert(kWarps * 2 * Eight::kStage + Eight::kSums <= kLeastShared);
  if (J <= 8 || kWarps * 2 * Sixteen::kStage + Sixteen::kSums > most_shared())
    return launch_kernel<kFormat, 8, 1, 2>(launch, J, groups, stream);
  launch_kernel<kFormat, 16, 1, 2>(launch, J, groups, stream);
}

void launch(const QuantLaunch& launch, Format format, int64_t J, unsigned groups, void* stream) {
  if (launch.items == 0 || J == 0 || groups == 0) return;
  with_tile_format(format, [&]<Format kFormat>() { launch_format<kFormat>(launch, J, groups, stream); });
}

void check_product(const QuantProductOnTiles& p) {
  R1_CHECK(has_tiles(p.w.format, p.w.K) && p.product.I == p.w.N && p.product.K == p.w.K && p.product.q.by_k &&
               p.product.q.row % 8 == 0 && !p.product.accumulate && p.product.gradients == nullptr &&
               reinterpret_cast<uintptr_t>(p.product.q.data) % 16 == 0,
           name_of(p.w.format), " [", p.w.N, ", ", p.w.K, "], product of ", p.product.I, " x ", p.product.K);
}

// Adds a product behind the others of the launch.
void add_product(QuantLaunch& launch, size_t at, const QuantProductOnTiles& p) {
  const auto tiles = static_cast<int>(tile_count(p.w.N));
  const int in_item = kWarps / launch.shards;
  launch.of[at] = {p.product, p.w.data, tiles, launch.items};
  launch.items += (tiles + in_item - 1) / in_item;
}

QuantLaunch launch_of(const QuantProductOnTiles& p) {
  QuantLaunch launch{};
  const TensorShards shards = tensor_shards(p.w.K, p.product.most_shards);
  R1_CHECK(shards.count <= kWarps && p.w.K < INT32_MAX, shards.count, " shards, K ", p.w.K);
  launch.K = static_cast<int>(p.w.K);
  launch.shards = static_cast<int>(shards.count);
  launch.steps = static_cast<int>(shards.steps);
  launch.bytes_of_tile = tile_bytes(p.w.format, p.w.K);
  launch.early = p.product.early;
  for (QuantLaunch::One& one : launch.of) one.first = INT32_MAX;
  return launch;
}

}  // namespace

void quant_products_of(std::span<const QuantProductOnTiles> products, void* stream) {
  R1_CHECK(products.size() <= kMostProducts, products.size(), " products");
  for (const QuantProductOnTiles& p : products) check_product(p);
  std::array<bool, kMostProducts> done{};
  for (size_t n = 0; n < products.size(); ++n) {
    if (done[n]) continue;
    const QuantProductOnTiles& first = products[n];
    std::array<QuantProductOnTiles, kMostProducts> alike;
    size_t count = 0;
    for (size_t m = n; m < products.size(); ++m) {
      if (done[m] || products[m].w.format != first.w.format) continue;
      R1_CHECK(products[m].w.K == first.w.K && products[m].product.J == first.product.J,
               "products of different inputs");
      alike[count++] = products[m];
      done[m] = true;
    }
    const QuantStreamCall call{.products = std::span(alike).first(count)};
    if (quant_stream_fits(call)) {
      quant_stream(call, stream);
      continue;
    }
    QuantLaunch all = launch_of(first);
    for (size_t m = 0; m < count; ++m) add_product(all, m, alike[m]);
    launch(all, first.w.format, first.product.J, 1, stream);
  }
}

void quant_products(const QuantProductOnTiles& one, const TensorGroups& groups, void* stream) {
  check_product(one);
  R1_CHECK(groups.starts != nullptr, "experts without rows");
  QuantLaunch all = launch_of(one);
  all.groups = groups;
  all.early = false;
  add_product(all, 0, one);
  launch(all, one.w.format, one.product.J, static_cast<unsigned>(groups.count), stream);
}

}  // namespace r1::cuda
