// tensor/blocks.h: the formats of blocks, which are those of GGUF, and what a block stands for.
//
// A block is 32 or 256 neighbouring elements of a row with their scales. d, m and dmin below are f16, q a
// small integer, s a scale of a sub-block and t its minimum:
//   Q4_0 Q5_0 Q8_0      d * (q - 8), d * (q - 16), d * q                  one scale per 32
//   Q4_1 Q5_1           d * q + m
//   Q3_K Q6_K           (d * s) * q                                       a scale per 16 of 256
//   Q2_K Q4_K Q5_K      (d * s) * q - (dmin * t)                          a scale and a minimum per 16 or 32
//   IQ4_NL IQ4_XS       d * k[q], (d * s) * k[q]                          k: sixteen fixed levels
//   IQ2_* IQ3_*         d * (s + 0.5) / 4 (or / 2, or d * (2 s + 1)) * grid[q] * sign
//
// Rounding points: every product and sum in parentheses above rounds to f32, nothing is fused. The values are
// those of the gguf package (0.19) to the bit; NaN may have another payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/stored.h"

namespace r1 {

// `blocks` are whole blocks, `out` has all their elements. The format is one of blocks.
void dequantise_blocks(Format format, std::span<const std::byte> blocks, std::span<float> out);

// A block as integers. Element i stands for
//   (d * scale[i / sub]) * q[i] - dmin * least[i / sub],
// rounded as above. A format with one scale has scale = 1. IQ2 and IQ3 have scale = 2 s + 1, and d is an
// eighth (IQ3_XXS: a quarter) of the block's. Q4_1 and Q5_1 have dmin = -m and least = 1; formats without a
// minimum have 0.
struct BlockNumbers {
  float d = 0, dmin = 0;
  int16_t scale[16] = {};
  int16_t least[16] = {};
  int16_t q[256] = {};  // within the range of int8_t
};
// Elements per scale: 32 or 16.
int sub_block(Format format);
bool has_minimum(Format format);
void read_block(Format format, const std::byte* block, BlockNumbers& out);

namespace blocks {

// The sixteen levels of IQ4_NL and IQ4_XS.
inline constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};

// Writes the block's elements to `out`. blocks_iq.cc has these; dequantise_blocks() calls them.
void iq2_xxs(const std::byte* block, float* out);
void iq2_xs(const std::byte* block, float* out);
void iq2_s(const std::byte* block, float* out);
void iq3_xxs(const std::byte* block, float* out);
void iq3_s(const std::byte* block, float* out);
void read_iq(Format format, const std::byte* block, BlockNumbers& out);

}  // namespace blocks

}  // namespace r1
