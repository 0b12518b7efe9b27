// ops/matmul/tensor_narrow_sm90.cu: bf16 products by wgmma in tiles of 64 x 64, for products whose larger tiles would leave
// most of a Hopper GPU idle (sm_90a): a multiprocessor takes in about 55 bytes per clock, so that more of them read faster.
//
// A block computes a tile and walks all of K, shard by shard, so that no chain leaves its registers. The blocks of a cluster,
// `down` x `across` neighbouring tiles, share their rows: each reads a part of a stage and hands it to those that need it.
//
// A gate and an up projection (tensor_gated_cuda.h) make a tile of 32 outputs: rows of P alternate by eight, so that a thread,
// whose outputs are in rows g and g + 8, has both numbers of an output.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/error.h"
#include "ops/matmul/tensor_block_sm90.cuh"
#include "ops/matmul/tensor_gated_cuda.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/swiglu/swiglu_value_cuda.cuh"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kNarrowTile = 64, kNarrowMultipliers = 128,
              kNarrowThreads = kNarrowMultipliers + 32;                       // a warp copies
constexpr int kNarrowCount = kNarrowTile * kNarrowTile / kNarrowMultipliers;  // outputs of a thread
constexpr int kNarrowStages = 6, kNarrowStageBytes = 2 * kPanel;
constexpr int kNarrowBytes = kNarrowStages * kNarrowStageBytes + kAligned;
static_assert(2 * (kNarrowBytes + 1024) <= 228 * 1024, "two blocks on a multiprocessor");

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

constexpr int kGatedRows = 8;  // of one of two products, which alternate in a tile

// Stages of 64 k of both operands in shared memory, which blocks of a cluster fill for each other.
struct NarrowPipe {
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
    return stages + static_cast<uint32_t>(stage) * kNarrowStageBytes;
  }
  __device__ __forceinline__ int rank_of(int r, int c) const { return r + job.down * c; }

  // By one thread, before a barrier of the cluster. A stage is free when all that it is copied to have read it.
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < kNarrowStages; ++s) {
      barrier_init(full_of(s), 1);
      barrier_init(empty_of(s), kNarrowMultipliers / 32 * (job.down + job.across - 1));
    }
    show_barriers();
  }

  // Part `part` of `parts` of a panel: goes to the blocks in `to`.
  __device__ __forceinline__ void share(uint32_t panel, const CUtensorMap& map, BoxAt at, int part, int parts,
                                        uint32_t barrier, int to) const {
    const int rows = kNarrowTile / parts;
    at.z += part * rows;
    panel += static_cast<uint32_t>(part * rows * kPanelLine);
    if (parts > 1) {
      copy_box_to_all(panel, map, at, barrier, static_cast<uint16_t>(to));
    } else {
      copy_box(panel, map, at, barrier);
    }
  }
  __device__ __forceinline__ BoxAt box_of(int n, int row0) const {
    const int each = (job.part_k + kTileK - 1) / kTileK;
    return {n % each * kTileK, n / each, row0};
  }
  // Stage n of all: blocks of one row of the cluster share rows of P, blocks of one column rows of Q.
  template <bool kGated>
  __device__ __forceinline__ void copy_p(const NarrowPart& part, int n, int i0) const {
    const int s = n % kNarrowStages;
    int to = 0;
    for (int c = 0; c < job.across; ++c) to |= 1 << rank_of(row, c);
    if constexpr (!kGated)
      return share(stage_of(s), part.p, box_of(n, i0), column, job.across, full_of(s), to);
    constexpr int kBoxes = kNarrowTile / kGatedRows;
    const int each = kBoxes / job.across;
    for (int box = column * each; box < (column + 1) * each; ++box) {
      const uint32_t panel = stage_of(s) + static_cast<uint32_t>(box * kGatedRows * kPanelLine);
      const BoxAt at = box_of(n, i0 + box / 2 * kGatedRows);
      const CUtensorMap& map = job.parts[box % 2].p;
      if (job.across > 1) {
        copy_box_to_all(panel, map, at, full_of(s), static_cast<uint16_t>(to));
      } else {
        copy_box(panel, map, at, full_of(s));
      }
    }
  }
  __device__ __forceinline__ void copy_q(int n, int j0) const {
    const int s = n % kNarrowStages;
    int to = 0;
    for (int r = 0; r < job.down; ++r) to |= 1 << rank_of(r, column);
    share(stage_of(s) + kPanel, job.q, box_of(n, j0), row, job.down, full_of(s), to);
  }

  // By one thread: has all stages copied. P may be read at once if it is early, Q when the kernel ahead has ended.
  template <bool kGated>
  __device__ __forceinline__ void copy_all(const NarrowPart& part, int i0, int j0) const {
    const int count = (job.part_k + kTileK - 1) / kTileK * job.shards, first = min(count, kNarrowStages);
    if (!part.product.early) await_previous();
    for (int n = 0; n < first; ++n) {
      barrier_expect(full_of(n), kNarrowStageBytes);
      copy_p<kGated>(part, n, i0);
    }
    await_previous();
    for (int n = 0; n < first; ++n) copy_q(n, j0);
    for (int n = first; n < count; ++n) {
      const int s = n % kNarrowStages;
      barrier_wait(empty_of(s), (n / kNarrowStages - 1) & 1);
      barrier_expect(full_of(s), kNarrowStageBytes);
      copy_p<kGated>(part, n, i0);
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
};

// The multipliers' place in the ring of stages, and their sums.
struct NarrowSums {
  const NarrowPipe& pipe;
  int at = 0, parity = 0;

  template <int kSteps>
  __device__ __forceinline__ void multiply(float (&d)[kNarrowCount], int keep, uint32_t first = 0) const {
    const uint32_t p = pipe.stage_of(at) + first * kPanelStep<true>, q = p + kPanel;
    wgmma_fence();
#pragma unroll
    for (uint32_t step = 0; step < kSteps; ++step)
      Wgmma<kNarrowTile>::template run<0, 0>(d, panel_descriptor<true>(p + step * kPanelStep<true>),
                                             panel_descriptor<true>(q + step * kPanelStep<true>),
                                             step > 0 ? 1 : keep);
    wgmma_commit();
  }
  __device__ __forceinline__ void next() {
    if (++at == kNarrowStages) at = 0, parity ^= 1;
  }

  // d = a shard's chain.
  __device__ __forceinline__ void sum(float (&d)[kNarrowCount], int count) {
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
        if (left < whole) pipe.release(at == 0 ? kNarrowStages - 1 : at - 1);
        next();
        keep = 1;
      } while (--left > 0);
      wgmma_wait<0>();
      wgmma_hold(d);
      pipe.release(at == 0 ? kNarrowStages - 1 : at - 1);
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

// Stores a warp's 8 x 8 outputs of a gate and an up projection: total has the gate's row g, columns 2t and 2t + 1, then the
// other's.
__device__ __forceinline__ void store_gated(const NarrowJob& job, int64_t i0, int64_t j0,
                                            const float (&total)[4]) {
  const TensorProduct &gate = job.parts[0].product, &up = job.parts[1].product;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int64_t i = min(i0 + g, gate.I - 1);  // rows past the last are not stored
  uint32_t values[2];
#pragma unroll
  for (int e = 0; e < 2; ++e)
    values[e] = bf16_bits(
        swiglu_value(through_bf16(add_bias(gate, i, total[e])), through_bf16(add_bias(up, i, total[2 + e]))));
  const uint32_t turned = transpose_block(values[0] | values[1] << 16);  // row 2t and the next of column g
  if (j0 + g >= gate.J) return;
  uint16_t* const to = static_cast<uint16_t*>(gate.d) + i0 + 2 * t + (j0 + g) * gate.d_j;
  if (i0 + 2 * t + 1 < gate.I) {
    *reinterpret_cast<uint32_t*>(to) = turned;
  } else if (i0 + 2 * t < gate.I) {
    *to = static_cast<uint16_t>(turned);
  }
}

template <bool kGated>
__global__ void __launch_bounds__(kNarrowThreads, 2) wgmma_narrow(const __grid_constant__ NarrowJob job) {
#ifdef R1_HAS_WGMMA
  extern __shared__ uint8_t narrow_stages[];
  __shared__ uint64_t barriers[2 * kNarrowStages];
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(narrow_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  const int blocks = job.down * job.across, rank = blocks > 1 ? static_cast<int>(cluster_rank()) : 0;
  const NarrowPipe pipe{job, stages, full, full + 8 * kNarrowStages, rank % job.down, rank / job.down};
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
  const int i0 = (tile_i - part.first_tile) * (kGated ? kNarrowTile / 2 : kNarrowTile),
            j0 = tile_j * kNarrowTile;
  if (threadIdx.x >= kNarrowMultipliers) {
    if (threadIdx.x == kNarrowMultipliers) pipe.copy_all<kGated>(part, i0, j0);
    __syncwarp();
  } else {
    await_previous();
    NarrowSums sums{pipe};
    float chain[kNarrowCount], total[kNarrowCount];
#pragma unroll
    for (int e = 0; e < kNarrowCount; ++e) chain[e] = 0.0f, total[e] = -0.0f;  // -0 + x is x, whatever x is
#pragma unroll 1
    for (int shard = 0; shard < job.shards; ++shard) {
      sums.sum(chain, job.part_k);
#pragma unroll
      for (int e = 0; e < kNarrowCount; ++e) total[e] = __fadd_rn(total[e], chain[e]);
    }
    const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
    for (int b = 0; b < kNarrowCount / 4; ++b) {
      const float block[4] = {total[4 * b], total[4 * b + 1], total[4 * b + 2], total[4 * b + 3]};
      if constexpr (kGated) {
        store_gated(job, i0 + 8 * warp, j0 + 8 * b, block);
      } else {
        store_block(part.product, i0 + 16 * warp, j0 + 8 * b, block);
      }
    }
  }
  // No block may end while others read for it or wait for it to read.
  if (blocks > 1) cluster_wait();
#endif
}

int64_t narrow_tiles(int64_t n) {
  return (n + kNarrowTile - 1) / kNarrowTile;
}

// gated: the products are a gate and an up projection.
NarrowJob make_narrow_job(std::span<const TensorProduct> products, bool gated) {
  const TensorProduct& one = products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  const int64_t part_k = shards.count == 1 ? one.K : shards.steps * kTensorStep;
  NarrowJob job{};
  job.tiles_j = static_cast<int>(narrow_tiles(one.J));
  job.across = job.tiles_j % 2 == 0 ? 2 : 1;
  job.down = job.across == 2 ? 2 : 4;
  const auto boxes = [&](int64_t rows, int box_rows) {
    return OperandBoxes{
        .rows = rows, .part = part_k, .shards = shards.count, .box_rows = box_rows, .box_k = kTileK};
  };
  job.q = operand_map(one.q, boxes(one.J, kNarrowTile / job.down));
  for (const TensorProduct& product : products) {
    NarrowPart& part = job.parts[job.part_count++];
    part.product = product;
    part.first_tile = job.tiles_i;
    part.p = operand_map(product.p, boxes(product.I, gated ? kGatedRows : kNarrowTile / job.across));
    if (gated && job.part_count > 1) continue;
    const auto down = static_cast<int>(narrow_tiles(gated ? 2 * product.I : product.I));
    job.tiles_i += (down + job.down - 1) / job.down * job.down;
  }
  job.part_k = static_cast<int>(part_k), job.shards = static_cast<int>(shards.count);
  return job;
}

template <bool kGated>
void launch_narrow(std::span<const TensorProduct> products, void* stream) {
  const NarrowJob job = make_narrow_job(products, kGated);
  const auto kernel = wgmma_narrow<kGated>;
  allow_shared(kernel, kNarrowBytes);
  const dim3 grid(
      static_cast<unsigned>(job.tiles_i * ((job.tiles_j + job.across - 1) / job.across * job.across)));
  launch_early_clusters(products.front().early, static_cast<unsigned>(job.down * job.across),
                        kGated ? "product y, gated" : "product y, narrow", kernel, grid, kNarrowThreads,
                        kNarrowBytes, stream, job);
}

}  // namespace

bool wgmma_narrow_fits(const TensorProduct& product) {
  return on_hopper() && takes_shape(product) && product.p.by_k && product.q.by_k && !product.accumulate &&
         product.gradients == nullptr && product.k_rows == nullptr && takes_vectors(product.p) &&
         takes_vectors(product.q);
}

bool wgmma_narrow_pays(const TensorProduct& product) {
  constexpr int64_t kFewRowsMost = 32;
  // FOR THE MEASUREMENT: R1_NARROW=0 never, 1 without SwiGLU.
  static const char* const wanted = std::getenv("R1_NARROW");
  if (wanted != nullptr && wanted[0] == '0') return false;
  const int64_t tiles = narrow_tiles(product.I) * narrow_tiles(product.J);
  if (product.J <= kFewRowsMost || tiles > multiprocessors() || !wgmma_narrow_fits(product)) return false;
  // In us of an H200, as in wgmma_shards_cost(): a stage of 16 KiB where each block has a multiprocessor for itself.
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  const auto stages = static_cast<double>((shards.steps + kTileSteps - 1) / kTileSteps * shards.count);
  const double narrow = 0.17 * stages;
  return narrow < wgmma_walk_cost(product) &&
         (!wgmma_shards_fit(product) || narrow < wgmma_shards_cost(product));
}

void wgmma_narrow_products(std::span<const TensorProduct> products, void* stream) {
  launch_narrow<false>(products, stream);
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
  TensorProduct both = call.gate;  // as if it were one product with all rows
  both.I *= 2;
  return wgmma_narrow_pays(both);
}

void tensor_gated(const TensorGated& call, void* stream) {
  R1_CHECK(tensor_gated_fits(call), "a gate of ", call.gate.I, " x ", call.gate.J, " x ", call.gate.K);
  const std::array<TensorProduct, 2> products = {call.gate, call.up};
  launch_narrow<true>(products, stream);
}

}  // namespace r1::cuda
