// ops/matmul/tensor_store_sm90.cuh: how a warpgroup stores the 64 x kJ outputs that wgmma left in its registers
// (wgmma_cuda.cuh has the layout).
//
// D whose neighbours in i are neighbours in memory goes through a buffer in shared memory, in lines of 128 bytes, swizzled,
// from which the copy engine stores it while the next tile is computed. Outputs past the ends are left out.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/matmul/tensor_pipeline_sm90.cuh"

namespace r1::cuda {

// The buffer of a warpgroup, in bytes, and the rows of j in a box of D.
template <int kJ>
inline constexpr int kStoreBytes = kJ * kPanelLine;
inline constexpr int kF32Rounds = 4;
template <int kJ>
constexpr int box_columns(bool bf16) {
  return bf16 ? kJ : kJ / kF32Rounds;
}

// A thread's place among the outputs of its warpgroup: rows row and row + 8, columns 8 b + column and the next.
struct OutputPlace {
  int group, warp, lane, row, column;
  __device__ __forceinline__ OutputPlace()
      : group(static_cast<int>(threadIdx.x) / 128),
        warp(static_cast<int>(threadIdx.x) % 128 / 32),
        lane(static_cast<int>(threadIdx.x) % 32),
        row(16 * warp + lane / 4),
        column(lane % 4 * 2) {}
};

// Two bf16, the first below. Not of NaN, whose bits the instruction does not keep.
__device__ __forceinline__ uint32_t pack_numbers(float first, float second) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(second), "f"(first));
  return out;
}
__device__ __forceinline__ uint32_t pack_any(float first, float second) {
  return bf16_bits(first) | static_cast<uint32_t>(bf16_bits(second)) << 16;
}

template <int kCount, class Pack>
__device__ __forceinline__ void write_bf16(uint32_t buffer, const OutputPlace& at,
                                           const float (&total)[kCount], const Pack& pack) {
  // stmatrix: lane l gives the line of row l % 8 of block l / 8; blocks are (rows, rows + 8) of columns b, then of b + 1.
  const int line = at.lane / 16 * 8 + at.lane % 8, vector = 2 * at.warp + at.lane / 8 % 2;
  const uint32_t first = buffer + static_cast<uint32_t>(panel_place(line, vector));
#pragma unroll
  for (int b = 0; b < kCount / 4; b += 2) {
    const float* v = total + 4 * b;
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                     first + static_cast<uint32_t>(8 * b * kPanelLine)),
                 "r"(pack(v[0], v[1])), "r"(pack(v[2], v[3])), "r"(pack(v[4], v[5])), "r"(pack(v[6], v[7]))
                 : "memory");
  }
}

// Stores outputs in bf16 from (i0, j0) on; i0 is the warpgroup's.
template <int kCount>
__device__ __forceinline__ void store_bf16(const CUtensorMap& map, uint32_t buffer, int i0, int j0,
                                           const float (&total)[kCount]) {
  const OutputPlace at;
  const bool leader = threadIdx.x % 128 == 0;
  float probe = 0.0f;  // not 0 if any is NaN or infinite
#pragma unroll
  for (int e = 0; e < kCount; ++e) probe = __fmaf_rn(total[e], 0.0f, probe);
  if (leader) store_wait<0>();
  named_sync(kGroupBarrier + at.group, 128);
  if (__any_sync(0xFFFFFFFF, probe != 0.0f)) {
    write_bf16(buffer, at, total, [](float first, float second) { return pack_any(first, second); });
  } else {
    write_bf16(buffer, at, total, [](float first, float second) { return pack_numbers(first, second); });
  }
  show_to_copies();
  named_sync(kGroupBarrier + at.group, 128);
  if (leader) store_box(map, i0, j0, buffer), store_commit();
}

// Stores outputs in f32: each pair of warps has 32 rows, and half of the buffer for two rounds at a time.
template <int kCount>
__device__ __forceinline__ void store_f32(const CUtensorMap& map, uint32_t buffer, int i0, int j0,
                                          const float (&total)[kCount]) {
  constexpr int kColumns = 2 * kCount / kF32Rounds, kRoundBytes = kColumns * kPanelLine;
  const OutputPlace at;
  const int pair = at.warp / 2, barrier = kPairBarrier + 2 * at.group + pair;
  const bool leader = threadIdx.x % 64 == 0;
  // Row r of the pair lies in vector r / 4 of a line. Columns 8 b + column + e are lines; only the latter change the
  // swizzle, because a round has whole eights.
  static_assert(kColumns % 8 == 0);
  const int vector = at.warp % 2 * 4 + at.lane / 16, within = at.lane / 4 % 4 * 4;
#pragma unroll
  for (int round = 0; round < kF32Rounds; ++round) {
    const uint32_t to = buffer + static_cast<uint32_t>((2 * pair + round % 2) * kRoundBytes);
    if (leader) store_wait<1>();
    named_sync(barrier, 64);
#pragma unroll
    for (int b = 0; b < kColumns / 8; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const uint32_t place =
            to + static_cast<uint32_t>(panel_place(8 * b + at.column + e % 2, vector + e / 2 * 2) + within);
        asm volatile("st.shared.f32 [%0], %1;" ::"r"(place), "f"(total[(round * kColumns / 8 + b) * 4 + e])
                     : "memory");
      }
    }
    show_to_copies();
    named_sync(barrier, 64);
    if (leader) store_box(map, i0 + 32 * pair, j0 + round * kColumns, to), store_commit();
  }
}

// Accesses of memory if `inside`, without a branch: a hundred branches in a row take the compiler minutes. Loads are 0
// otherwise. Through the second-level cache, because other blocks may have written it in this launch.
__device__ __forceinline__ float load_if(bool inside, const float* from) {
  float value;
  asm volatile("{.reg .pred p; setp.ne.b32 p, %2, 0; mov.f32 %0, 0f00000000; @p ld.global.cg.f32 %0, [%1];}"
               : "=f"(value)
               : "l"(from), "r"(static_cast<int>(inside))
               : "memory");
  return value;
}
__device__ __forceinline__ float2 load_if(bool inside, const float2* from) {
  float2 two;
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %3, 0; mov.f32 %0, 0f00000000; mov.f32 %1, 0f00000000; @p "
      "ld.global.cg.v2.f32 {%0, %1}, "
      "[%2];}"
      : "=f"(two.x), "=f"(two.y)
      : "l"(from), "r"(static_cast<int>(inside))
      : "memory");
  return two;
}
__device__ __forceinline__ void store_if(bool inside, float* to, float value) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %2, 0; @p st.global.cg.f32 [%0], %1;}" ::"l"(to), "f"(value),
               "r"(static_cast<int>(inside))
               : "memory");
}
__device__ __forceinline__ void store_if(bool inside, uint16_t* to, float value) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %2, 0; @p st.global.cg.b16 [%0], %1;}" ::"l"(to),
               "h"(bf16_bits(value)), "r"(static_cast<int>(inside))
               : "memory");
}
__device__ __forceinline__ void store_if(bool inside, float2* to, float2 two) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %3, 0; @p st.global.cg.v2.f32 [%0], {%1, %2};}" ::"l"(to),
               "f"(two.x), "f"(two.y), "r"(static_cast<int>(inside))
               : "memory");
}

// Calls visit(index, address, inside) for a thread's outputs of D, whose elements are V.
template <int kCount, class V, class Visit>
__device__ __forceinline__ void visit_outputs(const TensorProduct& product, int64_t i0, int64_t j0,
                                              const Visit& visit) {
  const OutputPlace at;
  const int64_t i = i0 + at.row, j = j0 + at.column, left = product.J - j;
  const bool upper = i < product.I, lower = i + 8 < product.I;
  V* to = static_cast<V*>(product.d) + i * product.d_i + j * product.d_j;
  const int64_t down = 8 * product.d_i, right = product.d_j;
#pragma unroll
  for (int b = 0; b < kCount / 4; ++b, to += 8 * right) {
    const bool first = 8 * b < left, second = 8 * b + 1 < left;
    visit(4 * b, to, upper && first), visit(4 * b + 1, to + right, upper && second);
    visit(4 * b + 2, to + down, lower && first), visit(4 * b + 3, to + down + right, lower && second);
  }
}
// True if D goes in pairs of neighbours in j: what visit_pairs() needs.
inline bool takes_pairs(const TensorProduct& product) {
  return product.d_j == 1 && !product.d_bf16 && product.J % 2 == 0 && product.d_i % 2 == 0 &&
         reinterpret_cast<uintptr_t>(product.d) % 8 == 0;
}
// Calls visit(index, address, inside) for a thread's pairs of outputs.
template <int kCount, class Visit>
__device__ __forceinline__ void visit_pairs(const TensorProduct& product, int64_t i0, int64_t j0,
                                            const Visit& visit) {
  const OutputPlace at;
  const int64_t i = i0 + at.row, left = product.J - j0 - at.column;
  const bool upper = i < product.I, lower = i + 8 < product.I;
  auto* const first =
      reinterpret_cast<float2*>(static_cast<float*>(product.d) + i * product.d_i + j0 + at.column);
  auto* const second = first + 4 * product.d_i;
#pragma unroll
  for (int b = 0; b < kCount / 4; ++b) {
    const bool inside = 8 * b < left;
    visit(4 * b, first + 4 * b, upper && inside), visit(4 * b + 2, second + 4 * b, lower && inside);
  }
}

// By one thread: brings D's outputs of a tile into the second-level cache, before load_outputs() asks for them. kPairs: D
// takes pairs. `map`: D's, or null.
template <int kJ, bool kPairs>
__device__ __forceinline__ void prefetch_outputs(const TensorProduct& product, const CUtensorMap* map, int i0,
                                                 int j0) {
  if (map != nullptr) {
    constexpr int kColumns = kJ / kF32Rounds;
    for (int j = 0; j < kJ; j += kColumns) {
#pragma unroll
      for (int i = 0; i < kTileI; i += 32) prefetch_box(*map, i0 + i, j0 + j);
    }
    return;
  }
  if constexpr (kPairs) {
    const int rows = static_cast<int>(min(product.I - i0, int64_t{kTileI}));
    const int bytes = static_cast<int>(min(product.J - j0, int64_t{kJ})) * 4;
    const float* from = static_cast<const float*>(product.d) + i0 * product.d_i + j0;
    if (bytes % 16 != 0 || product.d_i % 4 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0) return;
    for (int i = 0; i < rows; ++i, from += product.d_i) prefetch_bytes(from, bytes);
  }
}

// True if all outputs of a warpgroup are outputs of D.
template <int kCount>
__device__ __forceinline__ bool all_inside(const TensorProduct& product, int64_t i0, int64_t j0) {
  return i0 + 64 <= product.I && j0 + 2 * kCount <= product.J;
}
// Calls visit(index, address) for a thread's outputs of D in f32, whose neighbours in i are neighbours in memory, or, for its
// pairs, visit(index, address of a pair); all exist.
template <int kCount, class Visit>
__device__ __forceinline__ void visit_columns(const TensorProduct& product, int64_t i0, int64_t j0,
                                              const Visit& visit) {
  const OutputPlace at;
  float* left = static_cast<float*>(product.d) + (i0 + at.row) + (j0 + at.column) * product.d_j;
  float* right = left + product.d_j;
  const int64_t down = 8 * product.d_j;
#pragma unroll
  for (int b = 0; b < kCount / 4; ++b, left += down, right += down)
    visit(4 * b, left), visit(4 * b + 1, right), visit(4 * b + 2, left + 8), visit(4 * b + 3, right + 8);
}
template <int kCount, class Visit>
__device__ __forceinline__ void visit_whole_pairs(const TensorProduct& product, int64_t i0, int64_t j0,
                                                  const Visit& visit) {
  const OutputPlace at;
  auto* const upper = reinterpret_cast<float2*>(static_cast<float*>(product.d) + (i0 + at.row) * product.d_i +
                                                j0 + at.column);
  auto* const lower = upper + 4 * product.d_i;
#pragma unroll
  for (int b = 0; b < kCount / 4; ++b) visit(4 * b, upper + 4 * b), visit(4 * b + 2, lower + 4 * b);
}

// Loads the values that sums begin with: D in f32. kPairs: it takes pairs.
template <bool kPairs, int kCount>
__device__ __forceinline__ void load_outputs(const TensorProduct& product, int64_t i0, int64_t j0,
                                             float (&to)[kCount]) {
  const bool all = all_inside<kCount>(product, i0, j0);
  if constexpr (kPairs) {
    if (all) {
      visit_whole_pairs<kCount>(product, i0, j0, [&](int e, const float2* from) {
        const float2 two = __ldcg(from);
        to[e] = two.x, to[e + 1] = two.y;
      });
    } else {
      visit_pairs<kCount>(product, i0, j0, [&](int e, const float2* from, bool inside) {
        const float2 two = load_if(inside, from);
        to[e] = two.x, to[e + 1] = two.y;
      });
    }
  } else if (all && product.d_i == 1) {
    visit_columns<kCount>(product, i0, j0, [&](int e, const float* from) { to[e] = __ldcg(from); });
  } else {
    visit_outputs<kCount, float>(
        product, i0, j0, [&](int e, const float* from, bool inside) { to[e] = load_if(inside, from); });
  }
}
template <bool kPairs, int kCount>
__device__ __forceinline__ void store_outputs(const TensorProduct& product, int64_t i0, int64_t j0,
                                              const float (&from)[kCount]) {
  if constexpr (kPairs) {
    if (all_inside<kCount>(product, i0, j0)) {
      visit_whole_pairs<kCount>(product, i0, j0, [&](int e, float2* to) {
        __stcg(to, float2{from[e], from[e + 1]});
      });
      return;
    }
  }
  forget(i0), forget(j0);
  if constexpr (kPairs) {
    visit_pairs<kCount>(product, i0, j0, [&](int e, float2* to, bool inside) {
      store_if(inside, to, float2{from[e], from[e + 1]});
    });
  } else if (product.d_bf16) {
    visit_outputs<kCount, uint16_t>(product, i0, j0,
                                    [&](int e, uint16_t* to, bool inside) { store_if(inside, to, from[e]); });
  } else {
    visit_outputs<kCount, float>(product, i0, j0,
                                 [&](int e, float* to, bool inside) { store_if(inside, to, from[e]); });
  }
}

// Turns logits into gradients.
template <int kCount>
__device__ __forceinline__ void to_gradients(const TensorProduct& product, int64_t i0, int64_t j0,
                                             float (&total)[kCount]) {
  const OutputPlace at;
#pragma unroll
  for (int e = 0; e < kCount; ++e)
    total[e] =
        gradient_of(product, i0 + at.row + e / 2 % 2 * 8, j0 + e / 4 * 8 + at.column + e % 2, total[e]);
}

// Adds the bias.
template <int kCount>
__device__ __forceinline__ void add_biases(const TensorProduct& product, int64_t i0, float (&total)[kCount]) {
  const OutputPlace at;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t i = min(i0 + at.row + 8 * half, product.I - 1);  // rows past the last are not stored
    const float bias = product.round_bias ? through_bf16(product.bias[i]) : product.bias[i];
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      if (e / 2 % 2 == half) total[e] = __fadd_rn(total[e], bias);
    }
  }
}

}  // namespace r1::cuda
