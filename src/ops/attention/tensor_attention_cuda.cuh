// ops/attention/tensor_attention_cuda.cuh: what the kernels of tensor_attention_cuda.h share: blocks of keys, tiles in
// shared memory, and the powers of two.
#pragma once

#include "ops/attention/tensor_attention_cuda.h"
#include "ops/matmul/tensor_tile_cuda.cuh"

namespace r1::cuda {

inline constexpr int kBlockKeys = 64, kPartKeys = 256;
inline constexpr int kBlockSteps = kBlockKeys / 16;
inline constexpr float kLog2E = 1.44269504f;

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// The maximum that weights refer to: 0 if there is none yet, of which nothing is left.
__device__ __forceinline__ float reference_of(float most) {
  return most == -__builtin_huge_valf() ? 0.0f : most;
}
// 2^(x c - yc), where yc is the reference times c.
__device__ __forceinline__ float weight_of(float x, float c, float yc) {
  return exp2_fast(__fmaf_rn(x, c, -yc));
}
// 2^((m - reference) c): exactly 1 if the maximum is what it was, so that blocks that a row does not see leave its
// sums as they are.
__device__ __forceinline__ float rescale_of(float m, float reference, float c) {
  return exp2_fast(__fmul_rn(__fsub_rn(m, reference), c));
}

// Two numbers rounded to bf16; `low` lies first in memory.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

// Lines of kLine elements in shared memory, in vectors of 8, which are swizzled: what ldmatrix reads at once, a
// vector of each of eight lines, lies in different banks.
template <int kLine>
struct Lines {
  static constexpr int kVectors = kLine / kVector;
  static_assert(kVectors == 4 || kVectors % 8 == 0);
  static __device__ __forceinline__ int place(int line, int vector) {
    return line * kLine + (kVectors == 4 ? vector ^ line / 2 % 4 : vector ^ line % 8) * kVector;
  }
  // Lines are rows: 16 of them from `first` on, step s of 16 elements, as A of the instruction.
  static __device__ __forceinline__ void rows_as_a(uint32_t (&to)[4], const uint16_t* tile, int first,
                                                   int s) {
    const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
    load_blocks<false>(to, tile + place(first + block % 2 * 8 + line, 2 * s + block / 2));
  }
  // Loads the same 16 x 16 elements as two operands B.
  static __device__ __forceinline__ void rows_as_b(uint32_t (&to)[4], const uint16_t* tile, int first,
                                                   int s) {
    const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
    load_blocks<false>(to, tile + place(first + block / 2 * 8 + line, 2 * s + block % 2));
  }
  // Lines are k: 16 of them from 16 s on, and 16 columns from `first` on, as two Bs.
  static __device__ __forceinline__ void columns_as_b(uint32_t (&to)[4], const uint16_t* tile, int first,
                                                      int s) {
    const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
    load_blocks<true>(to, tile + place(s * 16 + block % 2 * 8 + line, first / kVector + block / 2));
  }
  // Copies `width` elements into line `line`, vector by vector from `first` on in steps of `apart`; what lies
  // beyond becomes zeros. from == null: a line of zeros, for which `any` is an address that may be named.
  static __device__ __forceinline__ void copy_vector_of(uint16_t* tile, int line, int vector,
                                                        const uint16_t* from, const uint16_t* any, int width,
                                                        bool vectors) {
    const int bytes = from == nullptr ? 0 : vector_bytes(width - vector * kVector);
    copy_vector(tile + place(line, vector), bytes > 0 ? from + vector * kVector : any, bytes, vectors);
  }
};

// Quotients by a number that is the same for all threads: a product and a shift. Exact for n < 2^31 and d < 512; larger
// d divide.
struct Quotient {
  uint32_t d = 1;
  uint64_t factor = 0;  // 0: divide
  static Quotient by(int d) {
    return {static_cast<uint32_t>(d),
            d < 512 ? ((uint64_t{1} << 40) + static_cast<uint64_t>(d) - 1) / static_cast<uint64_t>(d) : 0};
  }
  __device__ __forceinline__ int of(int n) const {
    return factor != 0 ? static_cast<int>((static_cast<uint64_t>(static_cast<uint32_t>(n)) * factor) >> 40)
                       : static_cast<int>(static_cast<uint32_t>(n) / d);
  }
};

inline bool rows_have_vectors(const void* data, int64_t width) {
  return width % kVector == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// The width that kernels are built for.
template <class Launch>
void with_width(int64_t width, const Launch& launch) {
  if (width <= 32) return launch(std::integral_constant<int, 32>());
  if (width <= 64) return launch(std::integral_constant<int, 64>());
  launch(std::integral_constant<int, 128>());
}

}  // namespace r1::cuda
