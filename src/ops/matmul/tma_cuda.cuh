// ops/matmul/tma_cuda.cuh: the copy engine of sm_90 (TMA), and clusters of blocks that share what it reads.
//
// A tensor map (tensor_map_cuda.h) describes a matrix in global memory; the engine copies boxes of it to shared memory and
// back. What lies outside the matrix is read as zeros and not written. Coordinates begin with the dimension whose elements
// are neighbours in memory. One thread starts a copy; a barrier (wgmma_cuda.cuh) counts the bytes that arrive.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace r1::cuda {

// A place in a matrix of three dimensions.
struct BoxAt {
  int x, y, z;
};

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Copies a box to `to`; its bytes arrive at `barrier`.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap& map, BoxAt at, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, "
      "%4}], [%5];" ::"r"(to),
      "l"(&map), "r"(at.x), "r"(at.y), "r"(at.z), "r"(barrier)
      : "memory");
}
// Copies a box into every block of a cluster whose bit is set: to one place, and with its bytes at one barrier, in each.
__device__ __forceinline__ void copy_box_to_all(uint32_t to, const CUtensorMap& map, BoxAt at,
                                                uint32_t barrier, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, "
      "%3, %4}], [%5], %6;" ::"r"(to),
      "l"(&map), "r"(at.x), "r"(at.y), "r"(at.z), "r"(barrier), "h"(blocks)
      : "memory");
}

// Bring a box of a matrix of two dimensions, or `bytes` of memory (address and number are multiples of 16), into the
// second-level cache.
__device__ __forceinline__ void prefetch_box(const CUtensorMap& map, int x, int y) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(&map), "r"(x), "r"(y)
               : "memory");
}
__device__ __forceinline__ void prefetch_bytes(const void* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// Copies a box of a matrix of two dimensions from shared memory. Before it, every thread that wrote there calls
// show_to_copies(), and a barrier follows.
__device__ __forceinline__ void store_box(const CUtensorMap& map, int x, int y, uint32_t from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map),
               "r"(x), "r"(y), "r"(from)
               : "memory");
}
__device__ __forceinline__ void show_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Waits until at most kPending of this thread's groups of stores still read shared memory.
template <int kPending>
__device__ __forceinline__ void store_wait() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

// Arrives at a barrier, and makes it expect so many bytes in this phase.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Arrives at the barrier at the same place of block `rank` of the cluster: shared memory was read, nothing was written. (To
// ask for release in the cluster makes the thread wait for its writes to all memory, about 1 us.)
__device__ __forceinline__ void barrier_arrive_at(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{.reg .b32 r; mapa.shared::cluster.u32 r, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [r];}" ::"r"(
          barrier),
      "r"(rank)
      : "memory");
}
// After barrier_init, before cluster_sync.
__device__ __forceinline__ void show_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// Waits for all threads of the cluster, and shows them what this one wrote.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}
// Waits for all threads of the cluster alone.
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.arrive.relaxed; barrier.cluster.wait.acquire;" ::: "memory");
}
// Waits for `threads` threads of the block, whole warps, that name the same barrier: 1 to 15.
__device__ __forceinline__ void named_sync(int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

}  // namespace r1::cuda
