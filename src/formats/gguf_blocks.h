// formats/gguf_blocks.h: GGUF's types and the formats of tensors (tensor/blocks.h), and blocks made of numbers.
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
// False for the K and the IQ types, whose scales are searched for.
bool can_quantize(GgufType type);

// `blocks` are whole blocks (single elements for F32, F16, BF16 and F64), `out` has all their elements. The
// type is one that can_dequantize.
void dequantize(GgufType type, std::span<const std::byte> blocks, std::span<float> out);

// The reverse, by round to nearest (Q8_0: halves away from zero), as the gguf package does it. `values` are
// finite and fill whole blocks; the type is one that can_quantize. Throws Error if a value is too large for
// the type.
void quantize(GgufType type, std::span<const float> values, std::span<std::byte> out);

}  // namespace r1
