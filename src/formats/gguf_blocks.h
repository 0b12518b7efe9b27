// formats/gguf_blocks.h: GGUF's types and the formats of tensors (tensor/blocks.h), and blocks made of
// numbers.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "formats/gguf.h"
#include "tensor/stored.h"

namespace r1 {

// The format of a tensor of this type; nothing for types that have no values here.
std::optional<Format> format_of(GgufType type);
// False for integers, for types that only hold activations, and for types below two bits.
bool can_dequantize(GgufType type);
// False for types without values and for IQ2 and IQ3, whose grids are not searched here.
bool can_quantize(GgufType type);

// `blocks` are whole blocks (single elements for F32, F16, BF16 and F64), `out` has all their elements. The
// type is one that can_dequantize.
void dequantize(GgufType type, std::span<const std::byte> blocks, std::span<float> out);

// Makes blocks whose scales have the least squared error that a search finds (formats/gguf_fit.h),
// each number weighted by sqrt(mean square + x^2) and, if it is given, by the importance of its column. Q8_0
// is plain rounding (halves away from zero) of the largest number to 127, as the gguf package does it. A
// function of its arguments alone. `values` are finite and fill whole blocks; `importance` is empty or has a
// number >= 0 for each value, whose scale does not matter. The type is one that can_quantize. Throws Error if
// a value is too large for the type.
void quantize(GgufType type, std::span<const float> values, std::span<std::byte> out,
              std::span<const float> importance = {});

}  // namespace r1
