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
  int down_bits, across_bits;      // tiles of a cluster: powers of two
  __host__ __device__ int down() const { return 1 << down_bits; }
  __host__ __device__ int across() const { return 1 << across_bits; }
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
  __device__ __forceinline__ int rank_of(int r, int c) const { return r + (c << job.down_bits); }

  // By one thread, before a barrier of the cluster. A stage is free when all that it is copied to have read it.
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(full_of(s), 1);
      barrier_init(empty_of(s), Shape::kMultiply / 32 * (job.down() + job.across() - 1));
    }
    show_barriers();
  }

  // By one thread: has all stages copied. P may be read at once if it is early, Q when the kernel ahead has ended. Blocks of
  // one row of the cluster share rows of P, blocks of one column rows of Q. One thread's arithmetic is all that a stage
  // waits for here, so that nothing is computed twice.
  __device__ __forceinline__ void copy_all(const NarrowPart& part, int i0, int j0) const {
    const int rows_p = Shape::kI >> job.across_bits, rows_q = Shape::kJ >> job.down_bits;
    int to_p = 0, to_q = 0;
#pragma unroll 1
    for (int c = 0; c < job.across(); ++c) to_p |= 1 << rank_of(row, c);
#pragma unroll 1
    for (int r = 0; r < job.down(); ++r) to_q |= 1 << rank_of(r, column);
    const Share p{column * rows_p, rows_p, to_p, job.across_bits > 0},
        q{row * rows_q, rows_q, to_q, job.down_bits > 0};
    const int count = (job.part_k + kTileK - 1) / kTileK * job.shards, first = min(count, kStages);
    if (!part.product.early) await_previous();
    At at;
#pragma unroll 1
    for (int n = 0; n < first; ++n, next(at)) {
      barrier_expect(full_of(at.stage), Shape::kStageBytes);
      copy_p(p, part, at, i0);
    }
    await_previous();
    at = At();
#pragma unroll 1
    for (int n = 0; n < first; ++n, next(at)) copy_q(q, at, j0);
    at.parity = 0;
#pragma unroll 1
    for (int n = first; n < count; ++n, next(at)) {
      barrier_wait(empty_of(at.stage), at.parity);
      barrier_expect(full_of(at.stage), Shape::kStageBytes);
      copy_p(p, part, at, i0);
      copy_q(q, at, j0);
    }
  }

  // The lane's share of a warp's release(): the block that it tells, or -1.
  __device__ __forceinline__ int told_by_lane() const {
    const int lane = static_cast<int>(threadIdx.x) % 32, other = lane - job.across();
    if (other < 0) return rank_of(row, lane);
    return other < job.down() - 1 ? rank_of(other + (other >= row ? 1 : 0), column) : -1;
  }
  // By a warp that has read a stage: tells the blocks that fill it.
  __device__ __forceinline__ void release(int stage, int told) const {
    if (told < 0) return;
    if (job.down_bits + job.across_bits == 0) {
      barrier_arrive(empty_of(stage));
    } else {
      barrier_arrive_at(empty_of(stage), static_cast<uint32_t>(told));
    }
  }

 private:
  // The lines that this block copies of every stage of an operand, and to whom.
  struct Share {
    int first, rows, blocks;
    bool several;
  };
  // A stage: its place in the ring, the parity of the ring's turn, and where it begins in K.
  struct At {
    int stage = 0, parity = 0, k = 0, shard = 0;
  };
  __device__ __forceinline__ void next(At& at) const {
    if (++at.stage == kStages) at.stage = 0, at.parity ^= 1;
    at.k += kTileK;
    if (at.k >= job.part_k) at.k = 0, ++at.shard;
  }
  static __device__ __forceinline__ void copy(uint32_t to, const CUtensorMap& map, const BoxAt& box,
                                              uint32_t barrier, const Share& share) {
    if (share.several) {
      copy_box_to_all(to, map, box, barrier, static_cast<uint16_t>(share.blocks));
    } else {
      copy_box(to, map, box, barrier);
    }
  }
  __device__ __forceinline__ void copy_p(const Share& share, const NarrowPart& part, const At& at,
                                         int i0) const {
    const uint32_t to = stage_of(at.stage) + static_cast<uint32_t>(share.first * kPanelLine);
    if constexpr (!kGated) {
      copy(to, part.p, {at.k, at.shard, i0 + share.first}, full_of(at.stage), share);
    } else {
#pragma unroll 1
      for (int line = 0; line < share.rows; line += kGatedRows) {
        const int box = (share.first + line) / kGatedRows;
        copy(to + static_cast<uint32_t>(line * kPanelLine), job.parts[box % 2].p,
             {at.k, at.shard, i0 + box / 2 * kGatedRows}, full_of(at.stage), share);
      }
    }
  }
  __device__ __forceinline__ void copy_q(const Share& share, const At& at, int j0) const {
    copy(stage_of(at.stage) + static_cast<uint32_t>(Shape::kPBytes + share.first * kPanelLine), job.q,
         {at.k, at.shard, j0 + share.first}, full_of(at.stage), share);
  }
};

// The multipliers' place in the ring of stages, and their sums.
template <class Shape, class Pipe>
struct NarrowSums {
  static constexpr int kCount = Shape::kCount, kStages = Shape::kStages;
  const Pipe& pipe;
  int told;  // told_by_lane()
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
        if (left < whole) pipe.release(at == 0 ? kStages - 1 : at - 1, told);
        next();
        keep = 1;
      } while (--left > 0);
      wgmma_wait<0>();
      wgmma_hold(d);
      pipe.release(at == 0 ? kStages - 1 : at - 1, told);
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
    pipe.release(at, told);
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
  const int cluster_bits = job.down_bits + job.across_bits, blocks = 1 << cluster_bits;
  const int rank = static_cast<int>(blockIdx.x) & (blocks - 1);
  const Pipe pipe{
      job, stages, full, full + 8 * Shape::kStages, rank & (job.down() - 1), rank >> job.down_bits};
  if (threadIdx.x == 0) pipe.init();
  if (blocks > 1) {
    cluster_wait();
  } else {
    __syncthreads();
  }
  const int tile_i = (static_cast<int>(blockIdx.x) >> cluster_bits << job.down_bits) + pipe.row,
            tile_j = (static_cast<int>(blockIdx.y) << job.across_bits) + pipe.column;
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
    NarrowSums<Shape, Pipe> sums{pipe, pipe.told_by_lane()};
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

// A job of clusters of 2^down_bits x 2^across_bits tiles. gated: the products are a gate and an up projection.
template <class Shape>
NarrowJob make_narrow_job(std::span<const TensorProduct> products, bool gated, int down_bits,
                          int across_bits) {
  const TensorProduct& one = products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  const int64_t part_k = shards.count == 1 ? one.K : shards.steps * kTensorStep;
  NarrowJob job{};
  job.down_bits = down_bits, job.across_bits = across_bits;
  const int down = job.down(), across = job.across();
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
  const int across_bits = tiles_for(products.front().J, Shape::kJ) % 2 == 0 ? 1 : 0;
  const NarrowJob job = make_narrow_job<Shape>(
      products, kGated, across_bits == 1 || Shape::kWarpgroups > 1 ? 1 : 2, across_bits);
  const auto kernel = wgmma_narrow<Shape, kGated>;
  allow_shared(kernel, Shape::kBytes);
  // Clusters are neighbours in x.
  const dim3 grid(static_cast<unsigned>(job.tiles_i * job.across()),
                  static_cast<unsigned>(job.tiles_j / job.across()));
  launch_early_clusters(products.front().early, static_cast<unsigned>(job.down() * job.across()),
                        kGated ? "product y, gated" : "product y", kernel, grid, Shape::kThreads,
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
