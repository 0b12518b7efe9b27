// ops/matmul/quant_tiles_cuda.cuh: the numbers of a quantised matrix, from tiles (quant_tiles.h) to operands of mma.sync.
//
// A number is what tensor/blocks.h and tensor/fp8.h say, exactly or rounded to f32 as there, and then rounded once to bf16.
// Codes become floats without a conversion: a byte is put into the mantissa of 2^23, of which 2^23 is subtracted.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "ops/matmul/quant_tiles.h"

namespace r1::cuda {

inline constexpr int kHalfSteps = 8;  // steps of 16 k in a half

namespace tiles {

// tile_traits() as constants, which the device's code may use.
template <Format kFormat>
struct Traits {
  static constexpr TileTraits kAll = tile_traits(kFormat);
  static constexpr TileScales kScales = kAll.scales;
  static constexpr bool kOnes = kAll.ones, kPairs = kAll.pairs, kHalves = kAll.halves, kBytes = kAll.bytes,
                        kMinimum = kAll.minimum;
  static constexpr int kOnesAt = kAll.ones_at, kPairsAt = kAll.pairs_at;
  static constexpr float kOffset = static_cast<float>(kAll.offset);
  static constexpr int kHead = static_cast<int>(kAll.head()), kExtra = static_cast<int>(kAll.extra()),
                       kHalf = static_cast<int>(kAll.half()), kPiece = static_cast<int>(kAll.piece());
  // The planes of a half.
  static constexpr int kPairsBegin = kOnes ? 256 : 0, kMainBegin = kPairsBegin + (kPairs ? 512 : 0);
};

constexpr float kTwo23 = 8388608.0f;

__device__ __forceinline__ uint32_t permute(uint32_t low, uint32_t high, uint32_t selector) {
  return __byte_perm(low, high, selector);
}
// Byte `index` of `bytes` minus `less`, exactly.
__device__ __forceinline__ float float_of_byte(uint32_t bytes, int index, float less) {
  return __uint_as_float(permute(bytes, 0x4B000000u, 0x7440u | static_cast<uint32_t>(index))) -
         (kTwo23 + less);
}
// The low or high one of two f16.
__device__ __forceinline__ float float_of_half(uint32_t two, int which) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(static_cast<uint16_t>(which == 0 ? two & 0xFFFFu : two >> 16)));
  return out;
}
__device__ __forceinline__ uint32_t two_bf16(float low, float high) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Turns the codes of one row into numbers, in one step: scale * (code - offset) - least. The product is exact.
// For formats without a minimum, `folded` holds -scale * (the float's own power of two + offset), which is exact, too,
// so that one FMA does both.
template <Format kFormat>
struct RowScale {
  using Is = Traits<kFormat>;
  // Codes below 128 may stand in byte 2 of a float of 2^7, others in byte 1 of one of 2^15.
  static constexpr float kPower = Is::kBytes ? 32768.0f : 128.0f;
  float scale, least;

  // kLiteral: with the sign of zeros that the definition gives; products do not depend on it.
  template <bool kLiteral>
  static __device__ __forceinline__ RowScale of(float scale, float least) {
    if constexpr (Is::kMinimum) return {scale, least};
    if constexpr (kLiteral) return {scale, 0.0f};
    return {scale, __fmul_rn(scale, kPower + Is::kOffset)};
  }
  template <bool kLiteral>
  __device__ __forceinline__ float number(uint32_t codes, int i) const {
    if constexpr (Is::kMinimum || kLiteral) {
      const float q = float_of_byte(codes, i, Is::kOffset);
      return __fmaf_rn(scale, q, -least);
    } else {
      constexpr uint32_t kHigh = Is::kBytes ? 0x47000000u : 0x43000000u;
      const auto index = static_cast<uint32_t>(i);
      const uint32_t selector = Is::kBytes ? 0x7404u | index << 4 : 0x7044u | index << 8;
      return __fmaf_rn(scale, __uint_as_float(permute(codes, kHigh, selector)), -least);
    }
  }
};
template <>
struct RowScale<Format::f8_e4m3> {
  float scale;
  template <bool kLiteral>
  static __device__ __forceinline__ RowScale of(float scale, float) {
    return {scale};
  }
  template <bool kLiteral>
  __device__ __forceinline__ float number(uint32_t codes, int i) const {
    const uint32_t top = permute(codes, 0, 0x0444u | static_cast<uint32_t>(i) << 12);
    const uint32_t bits = (top & 0x80000000u) | (top >> 4 & 0x07F00000u);
    return __fmul_rn(__fmul_rn(__uint_as_float(bits), 0x1p120f), scale);
  }
};

// The scales of two rows in one half of a piece.
template <Format kFormat, bool kLiteral>
struct HalfScales {
  using Is = Traits<kFormat>;
  using Row = RowScale<kFormat>;
  uint32_t scales[2][2], least[2];  // two rows' scales: bytes, in two words if there are eight, or four f16
  float d[2], dmin[2];

  __device__ __forceinline__ void read(const std::byte* head, int half, int g) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = g + 8 * r;
      if constexpr (Is::kScales == TileScales::of_matrix) {
        d[r] = reinterpret_cast<const float*>(head)[half];
        continue;
      }
      const uint4 h = reinterpret_cast<const uint4*>(head)[row];
      if constexpr (Is::kScales == TileScales::d_of_32 || Is::kScales == TileScales::bytes ||
                    Is::kScales == TileScales::halves) {
        scales[r][0] = half == 0 ? h.x : h.z;
        scales[r][1] = half == 0 ? h.y : h.w;
      }
      if constexpr (Is::kScales == TileScales::bytes) {
        scales[r][0] ^= 0x80808080u, scales[r][1] ^= 0x80808080u;
        d[r] = float_of_half(reinterpret_cast<const uint16_t*>(head + Is::kHead)[row], 0);
      }
      if constexpr (Is::kScales == TileScales::halves) {
        const uint32_t both = reinterpret_cast<const uint32_t*>(head + Is::kHead)[row];
        d[r] = float_of_half(both, 0), dmin[r] = float_of_half(both, 1);
      }
      if constexpr (Is::kScales == TileScales::six_bits) {
        d[r] = float_of_half(h.x, 0), dmin[r] = float_of_half(h.x, 1);
        scales[r][0] = half == 0 ? h.y & 0x3F3F3F3Fu : (h.w & 0x0F0F0F0Fu) | (h.y >> 2 & 0x30303030u);
        least[r] = half == 0 ? h.z & 0x3F3F3F3Fu : (h.w >> 4 & 0x0F0F0F0Fu) | (h.z >> 2 & 0x30303030u);
      }
    }
  }

  __device__ __forceinline__ Row of(int r, int step) const {
    if constexpr (Is::kScales == TileScales::of_matrix) return Row::template of<kLiteral>(d[r], 0.0f);
    if constexpr (Is::kScales == TileScales::d_of_32) {
      const int block = step / 2;
      return Row::template of<kLiteral>(float_of_half(scales[r][block / 2], block % 2), 0.0f);
    }
    if constexpr (Is::kScales == TileScales::bytes)
      return Row::template of<kLiteral>(__fmul_rn(d[r], float_of_byte(scales[r][step / 4], step % 4, 128.0f)),
                                        0.0f);
    if constexpr (Is::kScales == TileScales::six_bits)
      return Row::template of<kLiteral>(__fmul_rn(d[r], float_of_byte(scales[r][0], step / 2, 0.0f)),
                                        __fmul_rn(dmin[r], float_of_byte(least[r], step / 2, 0.0f)));
    const uint32_t both = scales[r][step / 4];
    return Row::template of<kLiteral>(
        __fmul_rn(d[r], float_of_byte(both & 0x0F0F0F0Fu, step % 4, 0.0f)),
        __fmul_rn(dmin[r], float_of_byte(both >> 4 & 0x0F0F0F0Fu, step % 4, 0.0f)));
  }
};

// The codes of two rows in one half of a piece, step by step.
template <Format kFormat>
struct HalfCodes {
  using Is = Traits<kFormat>;
  static constexpr int kGroup = Is::kBytes ? 2 : 4;  // steps per 16 bytes of a lane
  const std::byte* planes;
  uint2 ones{};
  uint4 pairs{}, main{};

  __device__ __forceinline__ explicit HalfCodes(const std::byte* codes, int lane)
      : planes(codes + Is::kMainBegin + 16 * lane) {
    if constexpr (Is::kOnes) ones = reinterpret_cast<const uint2*>(codes)[lane];
    if constexpr (Is::kPairs) pairs = reinterpret_cast<const uint4*>(codes + Is::kPairsBegin)[lane];
  }
  // Call it for the first step of each group that is used.
  __device__ __forceinline__ void read_group(int group) {
    if constexpr (Is::kHalves || Is::kBytes) main = *reinterpret_cast<const uint4*>(planes + group * 512);
  }
  __device__ __forceinline__ void of(int s, uint32_t (&code)[2]) const {
    if constexpr (Is::kBytes) {
      code[0] = word_of(main, s % 2 * 2), code[1] = word_of(main, s % 2 * 2 + 1);
      return;
    }
    code[0] = code[1] = 0;
    if constexpr (Is::kHalves) {
      const uint32_t word = word_of(main, s % 4);
      code[0] = word & 0x0F0F0F0Fu, code[1] = word >> 4 & 0x0F0F0F0Fu;
    }
    const uint32_t two = word_of(pairs, s / 2), one = s / 4 == 0 ? ones.x : ones.y;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if constexpr (Is::kPairs) {
        constexpr int kAt = Is::kPairsAt;
        const int bit = s % 2 * 4 + 2 * r;
        const uint32_t placed = bit >= kAt ? two >> (bit - kAt) : two << (kAt - bit);
        code[r] |= placed & 0x03030303u << kAt;
      }
      if constexpr (Is::kOnes) {
        constexpr int kAt = Is::kOnesAt;
        const int bit = s % 4 * 2 + r;
        const uint32_t placed = bit >= kAt ? one >> (bit - kAt) : one << (kAt - bit);
        code[r] |= placed & 0x01010101u << kAt;
      }
    }
  }
};

}  // namespace tiles

// Calls use(step, a) with A of mma.sync for the steps [first, last) of a half, in order. `head` is that of the piece,
// or, of FP8, two scales; `half` is 0 or 1, `codes` the half's planes. kWhole: the steps are all eight.
template <Format kFormat, bool kLiteral, bool kWhole, class Use>
__device__ __forceinline__ void each_step(const std::byte* head, const std::byte* codes, int half, int first,
                                          int last, const Use& use) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  tiles::HalfScales<kFormat, kLiteral> scales;
  scales.read(head, half, lane / 4);
  tiles::HalfCodes<kFormat> half_codes(codes, lane);
  constexpr int kGroup = tiles::HalfCodes<kFormat>::kGroup;
  tiles::RowScale<kFormat> row[2];
#pragma unroll
  for (int s = 0; s < kHalfSteps; ++s) {
    if (s % kGroup == 0 && (kWhole || (s < last && s + kGroup > first))) half_codes.read_group(s / kGroup);
    if (!kWhole && (s < first || s >= last)) continue;
    uint32_t code[2], a[4];
    half_codes.of(s, code);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      row[r] = scales.of(r, s);
      a[r] = tiles::two_bf16(row[r].template number<kLiteral>(code[r], 0),
                             row[r].template number<kLiteral>(code[r], 1));
      a[r + 2] = tiles::two_bf16(row[r].template number<kLiteral>(code[r], 2),
                                 row[r].template number<kLiteral>(code[r], 3));
    }
    use(s, a);
  }
}

// Calls run(format as a constant) with the format of a matrix.
template <class Run>
void with_tile_format(Format format, const Run& run) {
  switch (format) {
#define R1_TILES(name) \
  case Format::name:   \
    return run.template operator()<Format::name>();
    R1_TILES(q4_0)
    R1_TILES(q8_0)
    R1_TILES(q2_k)
    R1_TILES(q3_k)
    R1_TILES(q4_k)
    R1_TILES(q5_k)
    R1_TILES(q6_k)
    R1_TILES(f8_e4m3)
#undef R1_TILES
    default:
      return;
  }
}

// The launch's name in times by kernel, which keep the pointer.
inline const char* name_of_quant_launch(Format format) {
  switch (format) {
    case Format::q4_0:
      return "product y, few rows, Q4_0";
    case Format::q8_0:
      return "product y, few rows, Q8_0";
    case Format::q2_k:
      return "product y, few rows, Q2_K";
    case Format::q3_k:
      return "product y, few rows, Q3_K";
    case Format::q4_k:
      return "product y, few rows, Q4_K";
    case Format::q5_k:
      return "product y, few rows, Q5_K";
    case Format::q6_k:
      return "product y, few rows, Q6_K";
    default:
      return "product y, few rows, FP8";
  }
}

}  // namespace r1::cuda
