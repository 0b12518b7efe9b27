// ops/matmul/quant_table_cuda.cuh: the scales of a piece of a quantised matrix (quant_tiles.h) as a table in shared memory,
// for kernels that are bound by the instructions which turn codes into numbers.
//
// A lane reads the scales of two rows, which it shares with three lanes. So each lane makes four of the table's entries
// and reads the others:
//
//   entry   scale D = d * scale, exactly, and C = -(D * (2^7 + offset) + M), where M is the minimum, or zero
//   number  fma(D, 2^7 + code, C), where 2^7 + code is the code's byte put into the mantissa of 2^7
//
// The number is D * (code - offset) - M, rounded once to f32, if C is exact. Without a minimum it always is: D has 19
// significant bits at most, and 2^7 + offset is 128, 132 or 160. With one, C is exact if the last place of dmin is 0 to 13
// powers of two above that of d: D and M are each below 0.984 * 2^17 of their last places. In other pieces, which files of
// real models hardly have, each_step() makes the numbers.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "ops/matmul/quant_tiles_cuda.cuh"

namespace r1::cuda {

inline constexpr int kTableSubs = 8;  // sub-blocks of a table
inline constexpr int kTableBytes = static_cast<int>(kTileRows) * kTableSubs * 8;

namespace tiles {

template <Format kFormat>
struct Table {
  using Is = Traits<kFormat>;
  static constexpr bool kExists = Is::kScales == TileScales::six_bits || Is::kScales == TileScales::bytes ||
                                  Is::kScales == TileScales::halves;
  static constexpr int kSubSteps = Is::kScales == TileScales::six_bits ? 2 : 1;  // steps of a sub-block
  static constexpr bool kOfPiece = kSubSteps == 2;  // else there is one of each half
};

// True if C is exact for all scales of d and dmin, two f16.
__device__ __forceinline__ bool folds_exactly(uint32_t d_and_dmin) {
  const uint32_t d = max(d_and_dmin >> 10 & 31, 1u), dmin = max(d_and_dmin >> 26 & 31, 1u);
  return dmin - d <= 13u || (d_and_dmin & 0x7FFF0000u) == 0 || (d_and_dmin & 0x7FFFu) == 0;
}

// Four entries of a row with minimums, from bytes below 64.
__device__ __forceinline__ void four_with_minimum(float4* to, uint32_t d_and_dmin, uint32_t scale,
                                                  uint32_t least) {
  const float d = float_of_half(d_and_dmin, 0), dmin = float_of_half(d_and_dmin, 1);
  const float less_d = __fmul_rn(d, -kTwo23), less_dmin = __fmul_rn(dmin, -kTwo23);
  float D[4], C[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const auto byte = [&](uint32_t bytes) {
      return __uint_as_float(permute(bytes, 0x4B000000u, 0x7440u | static_cast<uint32_t>(i)));
    };
    D[i] = __fmaf_rn(d, byte(scale), less_d);
    C[i] = __fmaf_rn(D[i], -128.0f, -__fmaf_rn(dmin, byte(least), less_dmin));
  }
  to[0] = {D[0], C[0], D[1], C[1]}, to[1] = {D[2], C[2], D[3], C[3]};
}

// Makes the table of a piece, or of half `half`, from the piece's head. Returns false, in every lane, if numbers of it would not be
// exact. The warp synchronises before and after.
template <Format kFormat>
__device__ __forceinline__ bool make_table(std::byte* table, const std::byte* head, int half, int lane) {
  using Is = Traits<kFormat>;
  const int row = lane / 2, four = lane % 2;
  auto* const to = reinterpret_cast<float4*>(table + row * kTableSubs * 8 + four * 32);
  if constexpr (Is::kScales == TileScales::six_bits) {
    const uint4 h = reinterpret_cast<const uint4*>(head)[row];
    const uint32_t scale = four == 0 ? h.y & 0x3F3F3F3Fu : (h.w & 0x0F0F0F0Fu) | (h.y >> 2 & 0x30303030u);
    const uint32_t least =
        four == 0 ? h.z & 0x3F3F3F3Fu : (h.w >> 4 & 0x0F0F0F0Fu) | (h.z >> 2 & 0x30303030u);
    four_with_minimum(to, h.x, scale, least);
    return __all_sync(0xFFFFFFFFu, folds_exactly(h.x));
  }
  const uint32_t bytes = *reinterpret_cast<const uint32_t*>(head + row * 16 + half * 8 + four * 4);
  if constexpr (Is::kScales == TileScales::halves) {
    const uint32_t both = reinterpret_cast<const uint32_t*>(head + Is::kHead)[row];
    four_with_minimum(to, both, bytes & 0x0F0F0F0Fu, bytes >> 4 & 0x0F0F0F0Fu);
    return __all_sync(0xFFFFFFFFu, folds_exactly(both));
  }
  // A byte b is put into the mantissa of 2^15, and d * (2^15 + 128), which is exact, taken from its product with d.
  const float d = float_of_half(reinterpret_cast<const uint16_t*>(head + Is::kHead)[row], 0),
              less = __fmul_rn(d, -(32768.0f + 128.0f));
  float D[4], C[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    D[i] = __fmaf_rn(
        d,
        __uint_as_float(permute(bytes ^ 0x80808080u, 0x47000000u, 0x7404u | static_cast<uint32_t>(i) << 4)),
        less);
    C[i] = __fmul_rn(D[i], -(128.0f + Is::kOffset));
  }
  to[0] = {D[0], C[0], D[1], C[1]}, to[1] = {D[2], C[2], D[3], C[3]};
  return true;
}

}  // namespace tiles

// Calls use(step, a) for all steps of a half, as each_step() does, by a table of make_table().
template <Format kFormat, class Use>
__device__ __forceinline__ void each_step_of_table(const std::byte* table, const std::byte* codes, int half,
                                                   int lane, const Use& use) {
  using Of = tiles::Table<kFormat>;
  const auto* const rows =
      reinterpret_cast<const float4*>(table) + lane / 4 * (kTableSubs / 2) + (Of::kOfPiece ? half * 2 : 0);
  tiles::HalfCodes<kFormat> half_codes(codes, lane);
  float4 two[2];  // two entries of each row
#pragma unroll
  for (int s = 0; s < kHalfSteps; ++s) {
    if (s % tiles::HalfCodes<kFormat>::kGroup == 0)
      half_codes.read_group(s / tiles::HalfCodes<kFormat>::kGroup);
    if (s % (2 * Of::kSubSteps) == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) two[r] = rows[r * 8 * (kTableSubs / 2) + s / (2 * Of::kSubSteps)];
    }
    uint32_t code[2], a[4];
    half_codes.of(s, code);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool second = s / Of::kSubSteps % 2 == 1;
      const float D = second ? two[r].z : two[r].x, C = second ? two[r].w : two[r].y;
      float number[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        number[i] = __fmaf_rn(
            D, __uint_as_float(tiles::permute(code[r], 0x43000000u, 0x7044u | static_cast<uint32_t>(i) << 8)),
            C);
      a[r] = tiles::two_bf16(number[0], number[1]);
      a[r + 2] = tiles::two_bf16(number[2], number[3]);
    }
    use(s, a);
  }
}

}  // namespace r1::cuda
