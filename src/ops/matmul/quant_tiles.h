// ops/matmul/quant_tiles.h: quantised matrices as a CUDA device holds them: the bytes of the blocks, rearranged so that a
// warp reads what one instruction of the tensor cores multiplies, and the scales that belong to it, as one piece.
//
// A matrix [N, K] is cut into tiles of 16 rows, a tile into pieces of 256 k, which follow each other:
//
//   head    16 bytes per row: Q4_0 and Q8_0: eight d (f16); Q4_K and Q5_K: d, dmin and the twelve bytes of scales, as
//           stored; Q2_K: sixteen bytes of scales, as stored; Q3_K and Q6_K: sixteen scales as int8
//   extra   Q3_K, Q6_K: d per row (f16); Q2_K: d and dmin per row
//   half    128 k, twice: planes of the codes, one behind the other: the fifth (third) bits, the pairs of bits, the
//           halves of bytes or the bytes
//
// A lane 4 g + t has, of each step of 16 k, the codes of rows g and g + 8 at k = 2t, 2t + 1, 2t + 8, 2t + 9: four bytes per
// row. `halves` keep row g in the low halves of four bytes and row g + 8 in the high ones; `pairs` keep two steps in a
// word, at bits 0 (first step, row g), 2 (first, g + 8), 4 (second, g), 6; `ones` four steps, at bit 2 step + (row g + 8).
// Q8_0's codes are stored as code + 128. FP8 has no head: its scales, f32 [N / 128, K / 128] rounded up, follow the tiles.
// If K ends within a piece, which only formats of 32 and FP8 allow, the last one has the codes that exist.
#pragma once

#include <cstdint>

#include "tensor/fp8.h"
#include "tensor/stored.h"

namespace r1 {

inline constexpr int64_t kTileRows = 16, kTilePiece = 256, kTileHalf = 128;

enum class TileScales : uint8_t { none, d_of_32, six_bits, bytes, halves, of_matrix };

struct TileTraits {
  TileScales scales = TileScales::none;
  bool ones = false, pairs = false, halves = false, bytes = false;  // the planes
  int ones_at = 0, pairs_at = 0;  // the bit of a code that the plane begins with
  int offset = 0;                 // a code minus its number
  bool minimum = false;
  constexpr int64_t head() const {
    return scales == TileScales::of_matrix || scales == TileScales::none ? 0 : 16 * kTileRows;
  }
  constexpr int64_t extra() const {
    return scales == TileScales::bytes ? 2 * kTileRows : scales == TileScales::halves ? 4 * kTileRows : 0;
  }
  // Bytes of the planes of 128 k.
  constexpr int64_t half() const {
    return (ones ? 256 : 0) + (pairs ? 512 : 0) + (halves ? 1024 : 0) + (bytes ? 2048 : 0);
  }
  constexpr int64_t piece() const { return head() + extra() + 2 * half(); }
};

constexpr TileTraits tile_traits(Format format) {
  switch (format) {
    case Format::q4_0:
      return {.scales = TileScales::d_of_32, .halves = true, .offset = 8};
    case Format::q8_0:
      return {.scales = TileScales::d_of_32, .bytes = true, .offset = 128};
    case Format::q2_k:
      return {.scales = TileScales::halves, .pairs = true, .minimum = true};
    case Format::q3_k:
      return {.scales = TileScales::bytes, .ones = true, .pairs = true, .ones_at = 2, .offset = 4};
    case Format::q4_k:
      return {.scales = TileScales::six_bits, .halves = true, .minimum = true};
    case Format::q5_k:
      return {.scales = TileScales::six_bits, .ones = true, .halves = true, .ones_at = 4, .minimum = true};
    case Format::q6_k:
      return {.scales = TileScales::bytes, .pairs = true, .halves = true, .pairs_at = 4, .offset = 32};
    case Format::f8_e4m3:
      return {.scales = TileScales::of_matrix, .bytes = true};
    default:
      return {};
  }
}

// True if a CUDA device keeps a matrix of this format and width as it is stored. Others are dequantised when they are
// loaded.
constexpr bool has_tiles(Format format, int64_t K) {
  return tile_traits(format).scales != TileScales::none && K % 32 == 0;
}

// Bytes of one tile, a multiple of 16.
constexpr int64_t tile_bytes(Format format, int64_t K) {
  const TileTraits t = tile_traits(format);
  const int64_t rest = K % kTilePiece;
  if (rest == 0) return K / kTilePiece * t.piece();
  const int64_t codes = t.bytes ? (rest + 31) / 32 * 512 : (rest + 63) / 64 * 512;
  return K / kTilePiece * t.piece() + t.head() + t.extra() + codes;
}
constexpr int64_t tile_count(int64_t N) {
  return (N + kTileRows - 1) / kTileRows;
}
// Bytes of all tiles of a matrix, without FP8's scales.
constexpr int64_t tiles_bytes(Format format, int64_t N, int64_t K) {
  return tile_count(N) * tile_bytes(format, K);
}
constexpr int64_t fp8_scale_count(int64_t N, int64_t K) {
  return (N + kFp8Block - 1) / kFp8Block * ((K + kFp8Block - 1) / kFp8Block);
}
// Bytes of a matrix, a multiple of 4.
constexpr int64_t tiled_matrix_bytes(Format format, int64_t N, int64_t K) {
  const bool fp8 = format == Format::f8_e4m3;
  return tiles_bytes(format, N, K) + (fp8 ? 4 * fp8_scale_count(N, K) : 0);
}

}  // namespace r1
