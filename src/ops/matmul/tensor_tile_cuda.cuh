// ops/matmul/tensor_tile_cuda.cuh: tiles of bf16 operands in shared memory, and the fragments that mma.sync
// reads from them.
//
// A tile holds kRows rows by kTileK k, in vectors of 8 elements (16 bytes). Vector c of line r lies at place
// c ^ (r % 8) of the line: the eight lines that ldmatrix reads at once are then in different banks.
#pragma once

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "ops/matmul/tensor_product_cuda.h"
#include "ops/simd/bf16_cuda.cuh"

namespace r1::cuda {

inline constexpr int kTileK = 64;  // k of a stage
inline constexpr int kTileSteps = kTileK / static_cast<int>(kTensorStep);
inline constexpr int kVector = 8;  // elements of 16 bytes

// D += A B for one warp, with lane = 4 g + t. A: rows g and g + 8, k 2t and 8 + 2t; B: column g, the same k;
// D: rows g and g + 8, columns 2t and 2t + 1.
__device__ __forceinline__ void tensor_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four blocks of 8 x 8 elements; lane l gives the address of line l % 8 of block l / 8.
template <bool kTransposed>
__device__ __forceinline__ void load_blocks(uint32_t (&to)[4], const uint16_t* line) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(line));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  }
}

// Copies n <= 8 elements and fills the vector up with zeros. `vectors`: both sides are aligned to 16 bytes.
__device__ __forceinline__ void copy_vector(uint16_t* to, const uint16_t* from, int64_t n, bool vectors) {
  if (vectors) {
    __pipeline_memcpy_async(to, from, 16, n >= kVector ? 0 : static_cast<size_t>(16 - 2 * (n > 0 ? n : 0)));
    return;
  }
  uint32_t words[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const uint32_t low = 2 * e < n ? from[2 * e] : 0, high = 2 * e + 1 < n ? from[2 * e + 1] : 0;
    words[e] = low | high << 16;
  }
  *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
}

template <int kRows, bool kByK>
struct TensorTile {
  static constexpr int kElements = kRows * kTileK;
  static constexpr int kLine = kByK ? kTileK : kRows;  // elements
  static constexpr int kLines = kByK ? kRows : kTileK;
  static constexpr int kVectors = kLine / kVector;
  static_assert(kVectors >= 8);

  static __device__ __forceinline__ int place(int line, int vector) {
    return line * kLine + (vector ^ line % 8) * kVector;
  }

  // Copies rows [row0, row0 + kRows) and k [k0, k0 + kTileK); what does not exist becomes zeros. By `threads`
  // threads, of which this is number `thread`.
  static __device__ __forceinline__ void copy(uint16_t* tile, const TensorOperand& from, int64_t row0,
                                              int64_t rows, int64_t k0, int64_t K, const int32_t* k_rows,
                                              bool vectors, int thread, int threads) {
#pragma unroll 4
    for (int i = thread; i < kLines * kVectors; i += threads) {
      const int line = i / kVectors, vector = i % kVectors;
      uint16_t* to = tile + place(line, vector);
      if constexpr (kByK) {
        const int64_t row = row0 + line, k = k0 + vector * kVector;
        const bool inside = row < rows && k < K;
        copy_vector(to, inside ? from.data + row * from.row + k : from.data, inside ? K - k : 0, vectors);
      } else {
        const int64_t k = k0 + line, first = row0 + vector * kVector;
        int64_t row = k < K ? k : -1;
        if (k_rows != nullptr && row >= 0) row = k_rows[k];
        const bool inside = row >= 0 && first < rows;
        copy_vector(to, inside ? from.data + row * from.row + first : from.data, inside ? rows - first : 0,
                    vectors);
      }
    }
  }

  // Rows [first, first + 16) of step s as A of the instruction.
  static __device__ __forceinline__ void load_a(uint32_t (&to)[4], const uint16_t* tile, int first, int s) {
    const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
    if constexpr (kByK) {
      load_blocks<false>(to, tile + place(first + block % 2 * 8 + line, 2 * s + block / 2));
    } else {
      load_blocks<true>(to, tile + place(s * 16 + block / 2 * 8 + line, first / kVector + block % 2));
    }
  }
  // Rows [first, first + 16) as two Bs: to[0] and to[1] are of the first eight rows.
  static __device__ __forceinline__ void load_b(uint32_t (&to)[4], const uint16_t* tile, int first, int s) {
    const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
    if constexpr (kByK) {
      load_blocks<false>(to, tile + place(first + block / 2 * 8 + line, 2 * s + block % 2));
    } else {
      load_blocks<true>(to, tile + place(s * 16 + block % 2 * 8 + line, first / kVector + block / 2));
    }
  }
};

// Makes `product` that of group z.
__device__ __forceinline__ void enter_group(TensorProduct& product, const TensorGroups& groups, int64_t z) {
  int64_t d = z * groups.d;
  if (groups.starts != nullptr) {
    const int64_t first = groups.starts[z];
    product.J = groups.starts[z + 1] - first;
    product.p.data = groups.matrices[z];
    product.q.data += first * product.q.row;
    d = first * product.d_j;
  } else {
    product.p.data += z * groups.p;
    product.q.data += z * groups.q;
  }
  product.d = product.d_bf16 ? static_cast<void*>(static_cast<uint16_t*>(product.d) + d)
                             : static_cast<void*>(static_cast<float*>(product.d) + d);
}

// Stores a total after the last shard.
__device__ __forceinline__ void store_total(const TensorProduct& product, int64_t i, int64_t j, float total) {
  if (product.bias != nullptr) {
    const float bias = product.bias[i];
    total = __fadd_rn(total, product.round_bias ? through_bf16(bias) : bias);
  }
  const int64_t at = i * product.d_i + j * product.d_j;
  if (product.d_bf16) {
    static_cast<uint16_t*>(product.d)[at] = bf16_bits(total);
  } else {
    static_cast<float*>(product.d)[at] = total;
  }
}

}  // namespace r1::cuda
