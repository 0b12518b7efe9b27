// formats/gguf_makers.h: what the files of quantisers, gguf_blocks_quantize*.cc, share. Private to them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/gguf.h"

namespace r1::gguf_blocks {

// Makes a block of 256 elements; `importance` is null or of mean 1.
void make_large_block(GgufType type, const float* x, const float* importance, std::byte* out);
uint16_t half_of(GgufType type, float value);                // throws Error if it is infinite in f16
float put_half(GgufType type, float value, std::byte* out);  // returns what was stored
void put_nibbles(const int* q, std::byte* out);              // 32 elements: i and i + 16 share a byte

}  // namespace r1::gguf_blocks
