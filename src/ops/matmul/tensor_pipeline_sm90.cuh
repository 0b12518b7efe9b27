// ops/matmul/tensor_pipeline_sm90.cuh: how a block of sm_90 sums chains of products: one thread has the copy engine bring
// stages of 64 k into shared memory, as far ahead as there is room; two warpgroups multiply, 64 rows of P each.
//
// Stages are handed on through barriers: `full` when the bytes of a stage have arrived, `empty` when all warps that read it
// have done so. Blocks of a cluster that share their rows of Q read a part of each stage of Q each, for all of them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/matmul/tensor_tile_cuda.cuh"
#include "ops/matmul/tma_cuda.cuh"
#include "ops/matmul/wgmma_cuda.cuh"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {

inline constexpr int kGroups = 2, kMultipliers = 128 * kGroups, kPipelineThreads = kMultipliers + 128;
inline constexpr int kTileI = 64 * kGroups;
// 168 per thread at the launch (65536 in all): the warpgroup that copies gives up what the others take.
inline constexpr int kCopierRegisters = 40, kMultiplierRegisters = 232;
// The barriers in hardware (named_sync): one for all multipliers, one for each warpgroup, one for each pair of warps.
inline constexpr int kAllBarrier = 1, kGroupBarrier = 2, kPairBarrier = 4;

// A chain: `count` k from k0 of a shard on.
struct ChainAt {
  int k0, shard, count;
};

template <int kJ, bool kPByK, bool kQByK, int kStageCount>
struct Pipeline {
  static constexpr int kStages = kStageCount, kCount = kJ / 2;  // outputs of a thread
  static constexpr int kPBytes = kTileI * kTileK * 2, kStageBytes = kPBytes + kJ * kTileK * 2;
  static constexpr int kBytes = kStages * kStageBytes;

  uint32_t stages, full, empty;  // addresses in shared memory: stages aligned to 1024, kStages barriers each
  int cluster;                   // blocks that share their rows of Q
  uint32_t rank;                 // this block's number in its cluster
  int at = 0, parity = 0;

  // By one thread, before any other member; then a barrier of the block or of the cluster.
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(full_of(s), 1);
      barrier_init(empty_of(s), 4 * kGroups * cluster);
    }
    show_barriers();
  }

  // By one thread: has a chain copied for the tile at (i0, j0).
  __device__ __forceinline__ void copy(const CUtensorMap& p, const CUtensorMap& q, const ChainAt& chain,
                                       int i0, int j0) {
    for (int k = 0; k < chain.count; k += kTileK, next()) {
      barrier_wait(empty_of(at), parity ^ 1);
      barrier_expect(full_of(at), kStageBytes);
      copy_p(p, chain.shard, chain.k0 + k, i0);
      copy_q(q, chain.shard, chain.k0 + k, j0);
    }
  }

  // One stage: the boxes of P at {k, i0, shard} and of Q at {k, j0, shard}.
  __device__ __forceinline__ void copy_stage(const CUtensorMap& p, const CUtensorMap& q, const BoxAt& p_at,
                                             const BoxAt& q_at) {
    barrier_wait(empty_of(at), parity ^ 1);
    barrier_expect(full_of(at), kStageBytes);
    copy_p(p, p_at.z, p_at.x, p_at.y);
    copy_q(q, q_at.z, q_at.x, q_at.y);
    next();
  }

  // The first chain of all. P may be read at once, Q after await_previous().
  __device__ __forceinline__ void copy_early(const CUtensorMap& p, const CUtensorMap& q, const ChainAt& chain,
                                             int i0, int j0) {
    const int first = min((chain.count + kTileK - 1) / kTileK, kStages);
    for (at = 0; at < first; ++at) {
      barrier_expect(full_of(at), kStageBytes);
      copy_p(p, chain.shard, chain.k0 + at * kTileK, i0);
    }
    await_previous();
    for (at = 0; at < first; ++at) copy_q(q, chain.shard, chain.k0 + at * kTileK, j0);
    if (at == kStages) at = 0, parity ^= 1;
    const int done = first * kTileK;
    copy(p, q, {chain.k0 + done, chain.shard, chain.count - done}, i0, j0);
  }

  // By the multipliers: d = (fresh ? 0 : d) and the chain's products.
  __device__ __forceinline__ void sum(float (&d)[kCount], const ChainAt& chain, bool fresh) {
    const int whole = chain.count / kTileK, rest = chain.count % kTileK;
    if (whole > 0) {
      wgmma_hold(d);
      begin_stages(d, whole, fresh ? 0 : 1);
      if (rest == 1 * kTensorStep) return end_within<1>(d);
      if (rest == 2 * kTensorStep) return end_within<2>(d);
      if (rest == 3 * kTensorStep) return end_within<3>(d);
      end_stages(d);
    }
    if (rest > 0) sum_rest(d, rest, whole > 0 || !fresh);
  }
  // sum() of a chain of `whole` stages, at least one, and a half, whose neighbour has the other half of a stage: it ends
  // with the first half of a stage, or, if `second`, begins with the second half of the stage that the one before ended in.
  __device__ __forceinline__ void sum_with_half(float (&d)[kCount], int whole, bool second, bool fresh) {
    constexpr int kHalf = kTileSteps / 2;
    wgmma_hold(d);
    if (second) {
      wgmma_fence();
      multiply<kHalf>(d, fresh ? 0 : 1, kHalf);
      wgmma_commit();
      next();
      begin_stages(d, whole, 1, true);
      end_stages(d);
    } else {
      begin_stages(d, whole, fresh ? 0 : 1);
      end_within<kHalf>(d, false);
    }
  }
  // Two chains of one stage each. The second is multiplied while use() takes the first, which continues from `first` if `keep`.
  template <class Use>
  __device__ __forceinline__ void sum_two(float (&first)[kCount], float (&second)[kCount], bool keep,
                                          const Use& use) {
    wgmma_hold(first), wgmma_hold(second);
    barrier_wait(full_of(at), parity);
    wgmma_fence();
    multiply<kTileSteps>(first, keep ? 1 : 0);
    wgmma_commit();
    next();
    barrier_wait(full_of(at), parity);
    wgmma_fence();
    multiply<kTileSteps>(second, 0);
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_hold(first);
    release(before());
    use();
    wgmma_wait<0>();
    wgmma_hold(second);
    next();
    release(before());
  }

 private:
  __device__ __forceinline__ uint32_t full_of(int stage) const {
    return full + 8 * static_cast<uint32_t>(stage);
  }
  __device__ __forceinline__ uint32_t empty_of(int stage) const {
    return empty + 8 * static_cast<uint32_t>(stage);
  }
  __device__ __forceinline__ uint32_t stage_of(int stage) const {
    return stages + static_cast<uint32_t>(stage) * kStageBytes;
  }
  __device__ __forceinline__ void next() {
    if (++at == kStages) at = 0, parity ^= 1;
  }

  __device__ __forceinline__ void copy_p(const CUtensorMap& p, int shard, int k, int i0) const {
    const uint32_t to = stage_of(at);
    if constexpr (kPByK) {
      copy_box(to, p, {k, shard, i0}, full_of(at));
    } else {
#pragma unroll
      for (int panel = 0; panel < kGroups; ++panel)
        copy_box(to + panel * kPanel, p, {i0 + 64 * panel, k, shard}, full_of(at));
    }
  }
  __device__ __forceinline__ void copy_q(const CUtensorMap& q, int shard, int k, int j0) const {
    const int part = static_cast<int>(rank);
    const uint32_t to = stage_of(at) + kPBytes;
    const auto all = static_cast<uint16_t>((1 << cluster) - 1);
    const auto share = [&](uint32_t place, BoxAt box) {
      if (cluster > 1) {
        copy_box_to_all(place, q, box, full_of(at), all);
      } else {
        copy_box(place, q, box, full_of(at));
      }
    };
    if constexpr (kQByK) {
      const int rows = kJ / cluster;
      share(to + static_cast<uint32_t>(part * rows * kPanelLine), {k, shard, j0 + part * rows});
    } else {
      const int lines = kTileK / cluster;
#pragma unroll
      for (int panel = 0; panel < kJ / 64; ++panel)
        share(to + static_cast<uint32_t>(panel * kPanel + part * lines * kPanelLine),
              {j0 + 64 * panel, k + part * lines, shard});
    }
  }

  __device__ __forceinline__ int before() const { return at == 0 ? kStages - 1 : at - 1; }

  // Multiplies `left` stages, of which the last is still read afterwards. follows: so is the stage before them.
  __device__ __forceinline__ void begin_stages(float (&d)[kCount], int left, int keep, bool follows = false) {
    const int whole = follows ? left + 1 : left;
#pragma unroll 1
    do {
      barrier_wait(full_of(at), parity);
      wgmma_fence();
      multiply<kTileSteps>(d, keep);
      wgmma_commit();
      // The stage before has been read when at most this one is.
      wgmma_wait<1>();
      if (left < whole) release(before());
      next();
      keep = 1;
    } while (--left > 0);
  }
  __device__ __forceinline__ void end_stages(float (&d)[kCount]) {
    wgmma_wait<0>();
    wgmma_hold(d);
    release(before());
  }
  // Multiplies the first steps of a stage, with which the chain ends. `leave`: nobody needs the others.
  template <int kSteps>
  __device__ __forceinline__ void end_within(float (&d)[kCount], bool leave = true) {
    barrier_wait(full_of(at), parity);
    wgmma_fence();
    multiply<kSteps>(d, 1);
    wgmma_commit();
    wgmma_wait<1>();
    release(before());
    wgmma_wait<0>();
    wgmma_hold(d);
    if (!leave) return;
    release(at);
    next();
  }
  // The last, short stage of a chain: step by step, while the other warpgroup fills the pauses.
  __device__ __forceinline__ void sum_rest(float (&d)[kCount], int rest, int keep) {
    barrier_wait(full_of(at), parity);
    if constexpr (!kQByK) zero_lines(rest);
    uint32_t step = 0;
#pragma unroll 1
    do {
      wgmma_hold(d);
      wgmma_fence();
      multiply<1>(d, keep, step++);
      wgmma_commit();
      wgmma_wait<0>();
      wgmma_hold(d);
      keep = 1;
      rest -= static_cast<int>(kTensorStep);
    } while (rest > 0);
    release(at);
    next();
  }

  // Steps first_step to first_step + kSteps - 1 of the stage.
  template <int kSteps>
  __device__ __forceinline__ void multiply(float (&d)[kCount], int keep, uint32_t first_step = 0) const {
    const uint32_t p = stage_of(at) + threadIdx.x / 128 * kPanel + first_step * kPanelStep<kPByK>,
                   q = stage_of(at) + kPBytes + first_step * kPanelStep<kQByK>;
#pragma unroll
    for (uint32_t step = 0; step < kSteps; ++step) {
      Wgmma<kJ>::template run<kPByK ? 0 : 1, kQByK ? 0 : 1>(
          d, panel_descriptor<kPByK>(p + step * kPanelStep<kPByK>),
          panel_descriptor<kQByK>(q + step * kPanelStep<kQByK>), step > 0 ? 1 : keep);
    }
  }

  // Operands by rows: makes zeros of the lines past the chain's end in its last step, which hold k of the next chain.
  __device__ __forceinline__ void zero_lines(int rest) const {
    const int steps = (rest + static_cast<int>(kTensorStep) - 1) / static_cast<int>(kTensorStep);
    const int vectors = (steps * static_cast<int>(kTensorStep) - rest) * (kPanelLine / 16);
    if (vectors == 0) return;
    const uint32_t first = stage_of(at) + static_cast<uint32_t>(rest * kPanelLine);
    for (int v = static_cast<int>(threadIdx.x); v < vectors * (kGroups + kJ / 64); v += kMultipliers) {
      const auto place = static_cast<uint32_t>(v / vectors * kPanel + v % vectors * 16);
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(first + place), "r"(0) : "memory");
    }
    wgmma_see_shared();
    named_sync(kAllBarrier, kMultipliers);
  }

  __device__ __forceinline__ void release(int stage) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (cluster > 1) {
      if (lane < cluster) barrier_arrive_at(empty_of(stage), static_cast<uint32_t>(lane));
    } else if (lane == 0) {
      barrier_arrive(empty_of(stage));
    }
  }
};

}  // namespace r1::cuda
