// ops/matmul/tensor_tile_cuda.cuh: tiles of bf16 operands in shared memory, and the fragments that mma.sync
// reads from them.
//
// A tile holds kRows rows by kTileK k, in vectors of 8 elements (16 bytes). Vector c of line r lies at place
// c ^ (r % 8) of the line: the eight lines that ldmatrix reads at once are then in different banks.
#pragma once

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

// Loads four blocks of 8 x 8 elements; lane l gives the byte address, in shared memory, of line l % 8 of block l / 8.
template <bool kTransposed>
__device__ __forceinline__ void load_blocks_at(uint32_t (&to)[4], uint32_t at) {
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
template <bool kTransposed>
__device__ __forceinline__ void load_blocks(uint32_t (&to)[4], const uint16_t* line) {
  load_blocks_at<kTransposed>(to, static_cast<uint32_t>(__cvta_generic_to_shared(line)));
}

// Transposes a block of 8 x 8 elements, of which lane 4 g + t holds row g, columns 2t and 2t + 1.
__device__ __forceinline__ uint32_t transpose_block(uint32_t value) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(value));
  return out;
}

// Asynchronous copies of 16 bytes, of which the last 16 - bytes become zeros. (The toolkit's own function
// chooses among one instruction per count of bytes by a jump, which costs more than the copy.)
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most kPending of this thread's groups are on their way.
template <int kPending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
// The bytes of a vector that exist if `n` elements, any number, are left.
__device__ __forceinline__ int vector_bytes(int64_t n) {
  return 2 * static_cast<int>(n < 0 ? 0 : n < kVector ? n : kVector);
}

// Copies a vector of which `bytes` exist and fills it up with zeros. `vectors`: both sides are aligned to 16
// bytes.
__device__ __forceinline__ void copy_vector(uint16_t* to, const uint16_t* from, int bytes, bool vectors) {
  if (vectors) {
    copy_async(static_cast<uint32_t>(__cvta_generic_to_shared(to)), from, bytes);
    return;
  }
  uint32_t words[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const uint32_t low = 4 * e < bytes ? from[2 * e] : 0, high = 4 * e + 2 < bytes ? from[2 * e + 1] : 0;
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

  // Copies rows [row0, row0 + kRows) and k [k0, k0 + kTileK); what does not exist becomes zeros. By kThreads
  // threads, of which this is number `thread`.
  template <int kThreads>
  static __device__ __forceinline__ void copy(uint16_t* tile, const TensorOperand& from, int64_t row0,
                                              int64_t rows, int64_t k0, int64_t K, const int32_t* k_rows,
                                              bool vectors, int thread) {
    if (vectors) {
      copy_lines<kThreads, true>(tile, from, row0, rows, k0, K, k_rows, thread);
    } else {
      copy_lines<kThreads, false>(tile, from, row0, rows, k0, K, k_rows, thread);
    }
  }
  template <int kThreads, bool kVectorCopies>
  static __device__ __forceinline__ void copy_lines(uint16_t* tile, const TensorOperand& from, int64_t row0,
                                                    int64_t rows, int64_t k0, int64_t K,
                                                    const int32_t* k_rows, int thread) {
    // A thread has one vector of every kApart-th line.
    constexpr int kApart = kThreads / kVectors, kTurns = kLines / kApart,
                  kUnrolled = kVectorCopies ? kTurns : 1;
    static_assert(kThreads % kVectors == 0 && kLines % kApart == 0);
    const int vector = thread % kVectors, first = thread / kVectors;
    if constexpr (kByK) {
      const int64_t k = k0 + vector * kVector, left = rows - row0 - first;
      const int bytes = vector_bytes(K - k);
      const uint16_t* const line = from.data + (row0 + first) * from.row + k;
#pragma unroll kUnrolled
      for (int turn = 0; turn < kTurns; ++turn) {
        const bool inside = turn * kApart < left && bytes > 0;
        copy_vector(tile + place(first + turn * kApart, vector),
                    inside ? line + turn * kApart * from.row : from.data, inside ? bytes : 0, kVectorCopies);
      }
    } else {
      const int64_t row = row0 + vector * kVector;
      const int bytes = vector_bytes(rows - row);
#pragma unroll kUnrolled
      for (int turn = 0; turn < kTurns; ++turn) {
        int64_t k = k0 + first + turn * kApart;
        k = k >= K ? -1 : k_rows != nullptr ? k_rows[k] : k;
        const bool inside = k >= 0 && bytes > 0;
        copy_vector(tile + place(first + turn * kApart, vector),
                    inside ? from.data + k * from.row + row : from.data, inside ? bytes : 0, kVectorCopies);
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

// The name of the launch in times by kernel.
inline const char* launch_name(const TensorProduct& product) {
  return !product.q.by_k ? "product dw" : product.p.by_k ? "product y" : "product dx";
}
inline const char* launch_name(const TensorProduct& product, const TensorGroups& groups) {
  if (groups.starts != nullptr) return product.p.by_k ? "experts y" : "experts dx";
  if (groups.count > 1) return !product.q.by_k ? "heads dw" : product.p.by_k ? "heads y" : "heads dx";
  return launch_name(product);
}

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

// Makes the compiler compute again what follows from `value`. Otherwise it would keep the places of all outputs,
// which a chain that continues D begins with, in registers until they are stored.
__device__ __forceinline__ void forget(int64_t& value) {
  asm volatile("" : "+l"(value));
}

__device__ __forceinline__ float add_bias(const TensorProduct& product, int64_t i, float total) {
  if (product.bias == nullptr) return total;
  const float bias = product.bias[i];
  return __fadd_rn(total, product.round_bias ? through_bf16(bias) : bias);
}
// The gradient that follows from a logit. Columns past the last one are not stored; the last one's facts serve them.
__device__ __forceinline__ float gradient_of(const TensorProduct& product, int64_t i, int64_t j,
                                             float logit) {
  const LogitGradient g = product.gradients[min(j, product.J - 1)];
  float e;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(__fmaf_rn(logit, product.exponent, -g.most)));
  const float gradient = __fmul_rn(e, g.factor);
  return i == g.target ? __fadd_rn(gradient, g.own) : gradient;
}
// Stores a total after the last shard.
__device__ __forceinline__ void store_total(const TensorProduct& product, int64_t i, int64_t j, float total) {
  total = add_bias(product, i, total);
  const int64_t at = i * product.d_i + j * product.d_j;
  if (product.d_bf16) {
    static_cast<uint16_t*>(product.d)[at] = bf16_bits(total);
  } else {
    static_cast<float*>(product.d)[at] = total;
  }
}

}  // namespace r1::cuda
