// ops/matmul/quant_unpack.h: a panel's blocks as the kernels of products read them. Private to this folder.
#pragma once

#include <cstdint>

#include "ops/matmul/quant.h"

namespace r1 {

// The properties of a format that the kernels use.
struct QuantTraits {
  Format format = Format::q8_0;
  int block = 32;        // elements
  int sub = 32;          // elements of a sub-block with its own scale; 32 for blocks of 32
  bool scaled = false;   // sub-blocks have integer scales
  bool minimum = false;  // and minimums
  int offset = 128;      // an unpacked byte is the weight's number plus this
  int bits = 8;          // an unpacked byte is below 2^bits
};
const QuantTraits& quant_traits(Format format);

// A part of a format's block and where it is in the file's: words of `unit` bytes, 2 or 4.
struct QuantPart {
  int at = 0, bytes = 0, unit = 0;
};
inline constexpr int kMostParts = 5;
struct QuantParts {
  QuantPart part[kMostParts];
  int count = 0;
};
const QuantParts& quant_parts(Format format);

// Where the parts of one block of a panel are, in quant_parts()'s order.
struct QuantPartsOfBlock {
  const std::byte* at[kMostParts];
};

// Elements of K that are unpacked at a time.
inline constexpr int64_t kChunk = 1024;

// Blocks of one panel.
struct QuantChunk {
  const uint8_t* u = nullptr;      // [blocks][block / 4][16][4]: lanes over outputs, four steps of k in each
  const float* d = nullptr;        // [blocks][16]
  const float* dmin = nullptr;     // [blocks][16]; of Q4_1 and Q5_1 -m
  const int32_t* scale = nullptr;  // [blocks][block / sub][16]
  const int32_t* least =
      nullptr;  // [blocks][block / sub / 2][16] pairs of int16: even sub-block low, odd high
};

// A thread's memory for a chunk.
struct QuantScratch {
  alignas(64) uint8_t u[kChunk * kQuantPanel];
  alignas(64) float d[kChunk / 32 * kQuantPanel];
  alignas(64) float dmin[kChunk / 32 * kQuantPanel];
  alignas(64) int32_t scale[kChunk / 16 * kQuantPanel];
  alignas(64) int32_t least[kChunk / 32 * kQuantPanel];
};

// Unpacks blocks [first, first + count), at most kChunk elements, of a panel.
QuantChunk unpack_quant(const QuantTraits& traits, const std::byte* panel, int64_t K, int64_t first,
                        int64_t count, QuantScratch& scratch);

}  // namespace r1
