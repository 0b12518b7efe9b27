// formats/gguf_blocks.h: what the blocks of GGUF's quantised types stand for, and blocks made of numbers.
//
// A block is 32 or 256 neighbouring elements of a row with their scales. d, m and dmin below are f16, q a
// small integer, s a scale of a sub-block:
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
#include <span>

#include "formats/gguf.h"

namespace r1 {

// False for integers, for types that only hold activations, and for types below two bits.
bool can_dequantize(GgufType type);
// False for types without values and for IQ2 and IQ3, whose grids are not searched here.
bool can_quantize(GgufType type);

// `blocks` are whole blocks (single elements for F32, F16, BF16 and F64), `out` has all their elements. The
// type is one that can_dequantize.
void dequantize(GgufType type, std::span<const std::byte> blocks, std::span<float> out);

// The reverse: blocks whose scales have the least squared error that a search finds (formats/gguf_fit.h), each number
// weighted by sqrt(mean square + x^2) and, if it is given, by the importance of its column. Q8_0 is plain rounding (halves
// away from zero) of the largest number to 127, as the gguf package does it. A function of its arguments alone. `values`
// are finite and fill whole blocks; `importance` is empty or has a number >= 0 for each value, whose scale does not
// matter. The type is one that can_quantize. Throws Error if a value is too large for the type.
void quantize(GgufType type, std::span<const float> values, std::span<std::byte> out,
              std::span<const float> importance = {});

namespace gguf_blocks {

// Writes the block's elements to `out`. gguf_blocks_iq.cc has these; dequantize() calls them.
void iq2_xxs(const std::byte* block, float* out);
void iq2_xs(const std::byte* block, float* out);
void iq2_s(const std::byte* block, float* out);
void iq3_xxs(const std::byte* block, float* out);
void iq3_s(const std::byte* block, float* out);

}  // namespace gguf_blocks

}  // namespace r1
