// ops/matmul/tensor_narrow_sm90.cu: bf16 products by wgmma that have at most one tile per multiprocessor of a Hopper GPU
// (sm_90a), as in decoding: the size of the tiles is chosen such that there is about one for each, because a multiprocessor
// takes in about 55 bytes per clock, however little the others do.
//
// A block computes a tile of 64 kGroups x kJ outputs, 64 x kJ per warpgroup, and walks all of K, shard by shard, so that no
// chain leaves its registers. The blocks of a cluster, `down` x `across` neighbouring tiles, share their rows: each reads a
// part of a stage and hands it to those that need it. Rows of the weights are on their way before the kernel ahead has ended.
//
// A gate and an up projection (tensor_gated_cuda.h) share a tile: their rows alternate by 32, so that two warps of a
// warpgroup have the gate's and two the other's numbers of the same outputs. They exchange halves through shared memory.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/error.h"
#include "ops/matmul/tensor_block_sm90.cuh"
#include "ops/matmul/tensor_gated_cuda.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/swiglu/swiglu_value_cuda.cuh"
#include "tensor/early_launch_cuda.cuh"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kGatedRows = 32;  // of one of two products, which alternate in a tile

struct NarrowPart {
  CUtensorMap p;
  TensorProduct product;
  int first_tile;
};
struct NarrowJob {
  CUtensorMap q;
  NarrowPart parts[kMostProducts];
  int part_count, part_k, shards;  // part_k: k of a shard
  int tiles_i, tiles_j;            // multiples of down and across
  int down, across;                // tiles of a cluster
};

template <int kGroupCount, int kColumns>
struct NarrowShape {
  static constexpr int kWarpgroups = kGroupCount, kI = 64 * kWarpgroups, kJ = kColumns, kCount = kJ / 2;
  // A warp copies. Three warpgroups need more registers than 416 threads have each: a fourth gives up its own.
  static constexpr bool kGives = kWarpgroups == 3;
  static constexpr int kMultiply = 128 * kWarpgroups, kThreads = kMultiply + (kGives ? 128 : 32);
  static constexpr int kPBytes = kI * kPanelLine, kStageBytes = kPBytes + kJ * kPanelLine;
  static constexpr int kBlocks = kWarpgroups == 1 ? 2 : 1;  // of a multiprocessor
  static constexpr int kStages = 200 * 1024 / kBlocks / kStageBytes;
  static constexpr int kBytes = kStages * kStageBytes + kAligned;
};

// Stages of 64 k of both operands in shared memory, which blocks of a cluster fill for each other.
template <class Shape, bool kGated>
struct NarrowPipe {
  static constexpr int kStages = Shape::kStages;
  const NarrowJob& job;
  uint32_t stages, full, empty;  // addresses in shared memory
  int row, column;               // of this block in its cluster

  __device__ __forceinline__ uint32_t full_of(int stage) const {
    return full + 8 * static_cast<uint32_t>(stage);
  }
  __device__ __forceinline__ uint32_t empty_of(int stage) const {
    return empty + 8 * static_cast<uint32_t>(stage);
  }
  __device__ __forceinline__ uint32_t stage_of(int stage) const {
    return stages + static_cast<uint32_t>(stage) * Shape::kStageBytes;
  }
  __device__ __forceinline__ int rank_of(int r, int c) const { return r + job.down * c; }

  // By one thread, before a barrier of the cluster. A stage is free when all that it is copied to have read it.
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(full_of(s), 1);
      barrier_init(empty_of(s), Shape::kMultiply / 32 * (job.down + job.across - 1));
    }
    show_barriers();
  }

  // By one thread: has all stages copied. P may be read at once if it is early, Q when the kernel ahead has ended.
  __device__ __forceinline__ void copy_all(const NarrowPart& part, int i0, int j0) const {
    const int count = (job.part_k + kTileK - 1) / kTileK * job.shards, first = min(count, kStages);
    if (!part.product.early) await_previous();
    for (int n = 0; n < first; ++n) {
      barrier_expect(full_of(n), Shape::kStageBytes);
      copy_p(part, n, i0);
    }
    await_previous();
    for (int n = 0; n < first; ++n) copy_q(n, j0);
    for (int n = first; n < count; ++n) {
      const int s = n % kStages;
      barrier_wait(empty_of(s), (n / kStages - 1) & 1);
      barrier_expect(full_of(s), Shape::kStageBytes);
      copy_p(part, n, i0);
      copy_q(n, j0);
    }
  }

  // By a warp that has read a stage: tells the blocks that fill it.
  __device__ __forceinline__ void release(int stage) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (job.down * job.across == 1) {
      if (lane == 0) barrier_arrive(empty_of(stage));
      return;
    }
    if (lane >= job.down + job.across - 1) return;
    const int other = lane - job.across, r = other + (other >= row ? 1 : 0);
    barrier_arrive_at(empty_of(stage),
                      static_cast<uint32_t>(lane < job.across ? rank_of(row, lane) : rank_of(r, column)));
  }

 private:
  __device__ __forceinline__ void copy(uint32_t to, const CUtensorMap& map, int n, int row0, uint32_t barrier,
                                       int blocks) const {
    const int each = (job.part_k + kTileK - 1) / kTileK;
    const BoxAt at{n % each * kTileK, n / each, row0};
    if ((blocks & (blocks - 1)) != 0) {
      copy_box_to_all(to, map, at, barrier, static_cast<uint16_t>(blocks));
    } else {
      copy_box(to, map, at, barrier);
    }
  }
  // Stage n of all: blocks of one row of the cluster share rows of P, blocks of one column rows of Q.
  __device__ __forceinline__ void copy_p(const NarrowPart& part, int n, int i0) const {
    const int s = n % kStages, rows = Shape::kI / job.across, first = column * rows;
    int blocks = 0;
    for (int c = 0; c < job.across; ++c) blocks |= 1 << rank_of(row, c);
    if constexpr (!kGated) {
      copy(stage_of(s) + static_cast<uint32_t>(first * kPanelLine), part.p, n, i0 + first, full_of(s),
           blocks);
    } else {
      for (int line = first; line < first + rows; line += kGatedRows) {
        const int box = line / kGatedRows;
        copy(stage_of(s) + static_cast<uint32_t>(line * kPanelLine), job.parts[box % 2].p, n,
             i0 + box / 2 * kGatedRows, full_of(s), blocks);
      }
    }
  }
  __device__ __forceinline__ void copy_q(int n, int j0) const {
    const int s = n % kStages, rows = Shape::kJ / job.down, first = row * rows;
    int blocks = 0;
    for (int r = 0; r < job.down; ++r) blocks |= 1 << rank_of(r, column);
    copy(stage_of(s) + static_cast<uint32_t>(Shape::kPBytes + first * kPanelLine), job.q, n, j0 + first,
         full_of(s), blocks);
  }
};

// The multipliers' place in the ring of stages, and their sums.
template <class Shape, class Pipe>
struct NarrowSums {
  static constexpr int kCount = Shape::kCount, kStages = Shape::kStages;
  const Pipe& pipe;
  int at = 0, parity = 0;

  template <int kSteps>
  __device__ __forceinline__ void multiply(float (&d)[kCount], int keep, uint32_t first = 0) const {
    const uint32_t stage = pipe.stage_of(at) + first * kPanelStep<true>,
                   p = stage + threadIdx.x / 128 * kPanel, q = stage + Shape::kPBytes;
    wgmma_fence();
#pragma unroll
    for (uint32_t step = 0; step < kSteps; ++step)
      Wgmma<Shape::kJ>::template run<0, 0>(d, panel_descriptor<true>(p + step * kPanelStep<true>),
                                           panel_descriptor<true>(q + step * kPanelStep<true>),
                                           step > 0 ? 1 : keep);
    wgmma_commit();
  }
  __device__ __forceinline__ void next() {
    if (++at == kStages) at = 0, parity ^= 1;
  }

  // d = a shard's chain.
  __device__ __forceinline__ void sum(float (&d)[kCount], int count) {
    const int whole = count / kTileK;
    int keep = 0;
    if (whole > 0) {
      wgmma_hold(d);
      int left = whole;
#pragma unroll 1
      do {
        barrier_wait(pipe.full_of(at), parity);
        multiply<kTileSteps>(d, keep);
        wgmma_wait<1>();  // the stage before has been read
        if (left < whole) pipe.release(at == 0 ? kStages - 1 : at - 1);
        next();
        keep = 1;
      } while (--left > 0);
      wgmma_wait<0>();
      wgmma_hold(d);
      pipe.release(at == 0 ? kStages - 1 : at - 1);
    }
    int rest = count % kTileK;
    if (rest == 0) return;
    barrier_wait(pipe.full_of(at), parity);
    uint32_t step = 0;
#pragma unroll 1
    do {
      wgmma_hold(d);
      multiply<1>(d, keep, step++);
      wgmma_wait<0>();
      wgmma_hold(d);
      keep = 1;
      rest -= static_cast<int>(kTensorStep);
    } while (rest > 0);
    pipe.release(at);
    next();
  }
};

// Stores SwiGLU of a tile of a gate and an up projection. Of each warpgroup, warps 0 and 1 have the gate's numbers and warps
// 2 and 3 the other's. The first two compute the first half of the columns, the others the second. `room`: shared memory
// that nobody reads any more.
template <class Shape>
__device__ __forceinline__ void store_gated(const NarrowJob& job, uint32_t room, int64_t i0, int64_t j0,
                                            const float (&total)[Shape::kCount]) {
  constexpr int kHalf = Shape::kCount / 8;  // blocks of 8 columns
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4,
            warp = static_cast<int>(threadIdx.x) / 32, pair = warp / 4 * 2 + warp % 2;
  const bool second = warp % 4 >= 2;
  i0 += pair * 16;
  const TensorProduct& product = job.parts[second ? 1 : 0].product;
  uint32_t own[2 * kHalf];
  const auto slot = [&](bool of_second, int n) {
    return room + static_cast<uint32_t>(
                      ((n * 2 * Shape::kWarpgroups + pair) * 2 + (of_second ? 1 : 0)) * 128 + lane * 4);
  };
#pragma unroll
  for (int n = 0; n < 4 * kHalf; ++n) {
    const int64_t i = min(i0 + g + n % 2 * 8, product.I - 1);  // rows past the last are not stored
    const uint32_t words = static_cast<uint32_t>(bf16_bits(add_bias(product, i, total[2 * n]))) |
                           static_cast<uint32_t>(bf16_bits(add_bias(product, i, total[2 * n + 1]))) << 16;
    const int place = n % (2 * kHalf);
    if ((n >= 2 * kHalf) == second) {
      own[place] = words;
    } else {
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(slot(second, place)), "r"(words) : "memory");
    }
  }
  named_sync(kAllBarrier, Shape::kMultiply);
#pragma unroll
  for (int n = 0; n < 2 * kHalf; ++n) {
    uint32_t other;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(other) : "r"(slot(!second, n)) : "memory");
    const uint32_t gates = second ? other : own[n], ups = second ? own[n] : other;
    const float low = swiglu_value(__uint_as_float(gates << 16), __uint_as_float(ups << 16)),
                high = swiglu_value(__uint_as_float(gates & 0xFFFF0000u), __uint_as_float(ups & 0xFFFF0000u));
    // The lanes transpose 8 x 8 outputs to hold rows 2t and 2t + 1 of column g.
    const uint32_t turned = transpose_block(bf16_bits(low) | static_cast<uint32_t>(bf16_bits(high)) << 16);
    const int64_t i = i0 + n % 2 * 8 + 2 * t, j = j0 + (n / 2 + (second ? kHalf : 0)) * 8 + g;
    const TensorProduct& out = job.parts[0].product;
    if (j >= out.J) continue;
    uint16_t* const to = static_cast<uint16_t*>(out.d) + i + j * out.d_j;
    if (i + 1 < out.I) {
      *reinterpret_cast<uint32_t*>(to) = turned;
    } else if (i < out.I) {
      *to = static_cast<uint16_t>(turned);
    }
  }
}

template <class Shape, bool kGated>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    wgmma_narrow(const __grid_constant__ NarrowJob job) {
#ifdef R1_HAS_WGMMA
  using Pipe = NarrowPipe<Shape, kGated>;
  constexpr int kCount = Shape::kCount;
  extern __shared__ uint8_t narrow_stages[];
  __shared__ uint64_t barriers[2 * Shape::kStages];
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(narrow_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  const int blocks = job.down * job.across, rank = blocks > 1 ? static_cast<int>(cluster_rank()) : 0;
  const Pipe pipe{job, stages, full, full + 8 * Shape::kStages, rank % job.down, rank / job.down};
  if (threadIdx.x == 0) pipe.init();
  if (blocks > 1) {
    cluster_wait();
  } else {
    __syncthreads();
  }
  const int cluster = static_cast<int>(blockIdx.x) / blocks, clusters_i = job.tiles_i / job.down;
  const int tile_i = cluster % clusters_i * job.down + pipe.row,
            tile_j = cluster / clusters_i * job.across + pipe.column;
  int part_at = 0;
#pragma unroll
  for (int n = 1; n < static_cast<int>(kMostProducts); ++n) {
    if (!kGated && n < job.part_count && tile_i >= job.parts[n].first_tile) part_at = n;
  }
  const NarrowPart& part = job.parts[part_at];
  const int i0 = (tile_i - part.first_tile) * (kGated ? Shape::kI / 2 : Shape::kI), j0 = tile_j * Shape::kJ;
  if (threadIdx.x >= Shape::kMultiply) {
    if constexpr (Shape::kGives) give_registers<32>();
    if (threadIdx.x == Shape::kMultiply) pipe.copy_all(part, i0, j0);
    __syncwarp();
  } else {
    if constexpr (Shape::kGives) take_registers<160>();
    await_previous();
    NarrowSums<Shape, Pipe> sums{pipe};
    float chain[kCount], total[kCount];
#pragma unroll
    for (int e = 0; e < kCount; ++e) chain[e] = 0.0f, total[e] = -0.0f;  // -0 + x is x, whatever x is
#pragma unroll 1
    for (int shard = 0; shard < job.shards; ++shard) {
      sums.sum(chain, job.part_k);
#pragma unroll
      for (int e = 0; e < kCount; ++e) total[e] = __fadd_rn(total[e], chain[e]);
    }
    if constexpr (kGated) {
      named_sync(kAllBarrier, Shape::kMultiply);  // nobody reads the stages any more
      store_gated<Shape>(job, stages, i0, j0, total);
    } else {
      const int i = i0 + static_cast<int>(threadIdx.x) / 32 * 16;
#pragma unroll
      for (int b = 0; b < kCount / 4; ++b) {
        const float block[4] = {total[4 * b], total[4 * b + 1], total[4 * b + 2], total[4 * b + 3]};
        store_block(part.product, i, j0 + 8 * b, block);
      }
    }
  }
  // No block may end while others read for it or wait for it to read.
  if (blocks > 1) cluster_wait();
#endif
}

int64_t tiles_for(int64_t n, int64_t each) {
  return (n + each - 1) / each;
}

// A job of clusters of `down` x `across` tiles. gated: the products are a gate and an up projection.
template <class Shape>
NarrowJob make_narrow_job(std::span<const TensorProduct> products, bool gated, int down, int across) {
  const TensorProduct& one = products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  const int64_t part_k = shards.count == 1 ? one.K : shards.steps * kTensorStep;
  NarrowJob job{};
  job.down = down, job.across = across;
  job.tiles_j = static_cast<int>(tiles_for(tiles_for(one.J, Shape::kJ), across) * across);
  const auto boxes = [&](int64_t rows, int box_rows) {
    return OperandBoxes{
        .rows = rows, .part = part_k, .shards = shards.count, .box_rows = box_rows, .box_k = kTileK};
  };
  job.q = operand_map(one.q, boxes(one.J, Shape::kJ / down));
  for (const TensorProduct& product : products) {
    NarrowPart& part = job.parts[job.part_count++];
    part.product = product;
    part.first_tile = job.tiles_i;
    part.p = operand_map(product.p, boxes(product.I, gated ? kGatedRows : Shape::kI / across));
    if (gated && job.part_count > 1) continue;
    job.tiles_i +=
        static_cast<int>(tiles_for(tiles_for(gated ? 2 * product.I : product.I, Shape::kI), down) * down);
  }
  job.part_k = static_cast<int>(part_k), job.shards = static_cast<int>(shards.count);
  return job;
}

template <class Shape, bool kGated>
void launch_narrow(std::span<const TensorProduct> products, void* stream) {
  const int64_t across = tiles_for(products.front().J, Shape::kJ) % 2 == 0 ? 2 : 1;
  const NarrowJob job = make_narrow_job<Shape>(
      products, kGated, across == 2 || Shape::kWarpgroups > 1 ? 2 : 4, static_cast<int>(across));
  const auto kernel = wgmma_narrow<Shape, kGated>;
  allow_shared(kernel, Shape::kBytes);
  launch_early_clusters(products.front().early, static_cast<unsigned>(job.down * job.across),
                        kGated ? "product y, gated" : "product y", kernel,
                        dim3(static_cast<unsigned>(job.tiles_i * job.tiles_j)), Shape::kThreads,
                        Shape::kBytes, stream, job);
}

using NarrowSmall = NarrowShape<1, 64>;
using NarrowMiddle = NarrowShape<2, 128>;
using NarrowLarge = NarrowShape<3, 128>;

// Calls run(shape, us) for the tiles of least time: stages in microseconds of an H200, if every tile has a multiprocessor.
// Returns false if there are too many tiles of any size.
template <class Run>
bool with_narrow_shape(const TensorProduct& product, const Run& run) {
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  const auto stages = static_cast<double>((shards.steps + kTileSteps - 1) / kTileSteps * shards.count);
  const auto fits = [&](auto shape) {
    using Shape = decltype(shape);
    // Clusters of four: a group of 16 multiprocessors holds four of them, and the device about 32.
    return tiles_for(product.I, Shape::kI) * tiles_for(product.J, Shape::kJ) <= multiprocessors() / 4 * 4 - 4;
  };
  if (fits(NarrowSmall())) return run(NarrowSmall(), 0.17 * stages), true;
  if (fits(NarrowMiddle())) return run(NarrowMiddle(), 0.34 * stages), true;
  if (fits(NarrowLarge())) return run(NarrowLarge(), 0.43 * stages), true;
  return false;
}

}  // namespace

bool wgmma_narrow_fits(const TensorProduct& product) {
  return on_hopper() && takes_shape(product) && product.p.by_k && product.q.by_k && !product.accumulate &&
         product.gradients == nullptr && product.k_rows == nullptr && takes_vectors(product.p) &&
         takes_vectors(product.q);
}

bool wgmma_narrow_pays(const TensorProduct& product) {
  constexpr int64_t kFewRowsMost = 32;
  // FOR THE MEASUREMENT: R1_NARROW=0 never, 1 without SwiGLU, 2 the small tiles alone.
  static const char* const wanted = std::getenv("R1_NARROW");
  if (wanted != nullptr && wanted[0] == '0') return false;
  if (product.J <= kFewRowsMost || !wgmma_narrow_fits(product)) return false;
  double here = 0;
  const bool fits = with_narrow_shape(product, [&](auto shape, double us) {
    here = us;
    if (wanted != nullptr && wanted[0] == '2' && decltype(shape)::kWarpgroups > 1) here = 1e9;
  });
  return fits && here < 1.05 * wgmma_walk_cost(product) &&
         (!wgmma_shards_fit(product) || here < wgmma_shards_cost(product));
}

void wgmma_narrow_products(std::span<const TensorProduct> products, void* stream) {
  TensorProduct all = products.front();  // as if it were one product with all rows
  all.I = 0;
  for (const TensorProduct& p : products) all.I += p.I;
  const bool one_wave = with_narrow_shape(
      all, [&](auto shape, double) { launch_narrow<decltype(shape), false>(products, stream); });
  if (!one_wave) launch_narrow<NarrowLarge, false>(products, stream);
}

bool tensor_gated_fits(const TensorGated& call) {
  const TensorProduct &gate = call.gate, &up = call.up;
  return wgmma_narrow_fits(gate) && wgmma_narrow_fits(up) && gate.q.data == up.q.data && gate.I == up.I &&
         gate.J == up.J && gate.K == up.K && gate.most_shards == up.most_shards && gate.d_bf16 &&
         gate.d_i == 1 && gate.d_j % 2 == 0 && reinterpret_cast<uintptr_t>(gate.d) % 4 == 0;
}

bool tensor_gated_pays(const TensorGated& call) {
  static const char* const wanted = std::getenv("R1_NARROW");
  if (wanted != nullptr && wanted[0] == '1') return false;
  TensorProduct both = call.gate;
  both.I *= 2;
  return wgmma_narrow_pays(both);
}

void tensor_gated(const TensorGated& call, void* stream) {
  R1_CHECK(tensor_gated_fits(call), "a gate of ", call.gate.I, " x ", call.gate.J, " x ", call.gate.K);
  const std::array<TensorProduct, 2> products = {call.gate, call.up};
  TensorProduct both = call.gate;
  both.I *= 2;
  const bool one_wave = with_narrow_shape(
      both, [&](auto shape, double) { launch_narrow<decltype(shape), true>(products, stream); });
  if (!one_wave) launch_narrow<NarrowLarge, true>(products, stream);
}

}  // namespace r1::cuda
