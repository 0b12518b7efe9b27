// Quantised matrices on a CUDA device: which formats stay as they are stored, and in how many bytes.
#include "ops/matmul/quant_tiles.h"

#include <gtest/gtest.h>

#include "tests/ops/quant_util.h"

namespace r1::quant_tiles_test {

TEST(QuantTiles, TakeTheBytesOfTheBlocks) {
  for (const Format format :
       {Format::q4_0, Format::q8_0, Format::q2_k, Format::q4_k, Format::q5_k, Format::q6_k, Format::f8_e4m3})
    EXPECT_EQ(tiles_bytes(format, 4096, 1536), bytes_of(format, 4096 * 1536)) << name_of(format);
  // Scales of six bits are kept as bytes.
  EXPECT_EQ(tiles_bytes(Format::q3_k, 16, 256), bytes_of(Format::q3_k, 16 * 256) + 16 * 4);
  EXPECT_EQ(tiled_matrix_bytes(Format::f8_e4m3, 300, 416),
            tiles_bytes(Format::f8_e4m3, 300, 416) + 4 * 3 * 4);
}

// Rows are rounded up to sixteen; a width that ends within a piece takes its codes, and the head of a whole one.
TEST(QuantTiles, CutPiecesTakeTheirCodes) {
  EXPECT_EQ(tiles_bytes(Format::q8_0, 1, 256), bytes_of(Format::q8_0, 16 * 256));
  EXPECT_EQ(tile_bytes(Format::q8_0, 256 + 32), 16 * 272 + 256 + 16 * 32);
  EXPECT_EQ(tile_bytes(Format::q4_0, 256 + 96), 16 * 144 + 256 + 2 * 16 * 32);
  EXPECT_EQ(tile_bytes(Format::f8_e4m3, 256 + 160), 16 * 416);
}

TEST(QuantTiles, OtherFormatsHaveNone) {
  for (const Format format : block_formats()) {
    const bool has = format == Format::q4_0 || format == Format::q8_0 || format == Format::q2_k ||
                     format == Format::q3_k || format == Format::q4_k || format == Format::q5_k ||
                     format == Format::q6_k;
    EXPECT_EQ(has_tiles(format, 512), has) << name_of(format);
  }
  EXPECT_FALSE(has_tiles(Format::bf16, 512));
  EXPECT_FALSE(has_tiles(Format::f8_e4m3, 500)) << "pieces of rows are 16 bytes";
}

}  // namespace r1::quant_tiles_test
