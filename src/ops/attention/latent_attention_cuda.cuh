// ops/attention/latent_attention_cuda.cuh: what the kernels of latent_attention_cuda.h share: lines in shared memory, the
// shapes that kernels are built for, and launches.
//
// A group of warps has 16 rows (of queries, or of keys in the backward). Wide latents are cut into columns, one part
// per warp of the group; the scores of a group are cut as well, and pass through shared memory.
#pragma once

#include <type_traits>

#include "ops/attention/latent_attention_cuda.h"
#include "ops/attention/tensor_attention_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {

// Loads two blocks of 8 x 8 elements from a byte address of shared memory, as load_blocks_at() loads four.
__device__ __forceinline__ void load_two_blocks_at(uint32_t (&to)[2], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"(at)
               : "memory");
}
__device__ __forceinline__ uint32_t shared_address(const void* memory) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(memory));
}

// Lines of kColumns elements in shared memory with a vector of 8 more between them, so that the lines that ldmatrix
// reads at once lie in different banks. The functions return the byte that this lane reads at first; another row or
// step is a constant away.
template <int kColumns>
struct SpacedLines {
  static constexpr int kPitch = kColumns + kVector;
  static_assert(kColumns % 16 == 0);
  static constexpr uint32_t kLineBytes = 2 * kPitch;
  static __device__ __forceinline__ uint32_t place(int line, int column) {
    return static_cast<uint32_t>(2 * (line * kPitch + column));
  }
  // Lines are rows. A step of 16 elements is 32 bytes away.
  static __device__ __forceinline__ uint32_t of_a() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return place(lane % 16, lane / 16 * 8);
  }
  static __device__ __forceinline__ uint32_t of_b() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return place(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
  }
  // Lines are k. 16 columns are 32 bytes away.
  static __device__ __forceinline__ uint32_t of_b_by_k() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return place(lane % 16, lane / 16 * 8);
  }
  static __device__ __forceinline__ uint32_t of_a_by_k() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return place(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
  }
  // Copies a vector of a row of `width` elements; what lies beyond becomes zeros. from == null: zeros, for which `any`
  // is an address that may be named.
  static __device__ __forceinline__ void copy(uint16_t* tile, int line, int vector, const uint16_t* from,
                                              const uint16_t* any, int width, bool vectors) {
    const int bytes = from == nullptr ? 0 : vector_bytes(width - vector * kVector);
    copy_vector(tile + line * kPitch + vector * kVector, bytes > 0 ? from + vector * kVector : any, bytes,
                vectors);
  }
};

// A shape that kernels are built for: values of at most kV columns, keys of at most kK, kC warps per group.
template <int kValues, int kKeyColumns, int kColumnWarps>
struct LatentShape {
  static constexpr int kV = kValues, kK = kKeyColumns, kC = kColumnWarps;
  static_assert(kV % (16 * kC) == 0 && kK % (16 * kC) == 0);
};
template <class Launch>
void with_latent_shape(int64_t values, int64_t keys, const Launch& launch) {
  if (values <= 64 && keys <= 96) return launch(LatentShape<64, 96, 1>());
  if (values <= 128 && keys <= 160) return launch(LatentShape<128, 160, 1>());
  if (values <= 256 && keys <= 320) return launch(LatentShape<256, 320, 2>());
  launch(LatentShape<512, 576, 4>());
}

// Waits for the warps of this thread's group.
template <int kThreads>
__device__ __forceinline__ void await_group(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(kThreads) : "memory");
}

template <int kCount>
__device__ __forceinline__ void clear_sums(float (&sums)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[n][e] = 0.0f;
  }
}

inline constexpr int kLeastShared = 99 * 1024;  // bytes that every device gives a block: sm_89 has no more

// True if this device gives a block so many bytes of shared memory.
bool latent_block_fits(int bytes);

template <class Kernel>
void allow_latent_bytes(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "cudaFuncSetAttribute");
}

}  // namespace r1::cuda
