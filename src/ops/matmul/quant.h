// ops/matmul/quant.h: products with blocks as they are stored (Product::q8act).
//
// One contract for every instruction set, format by format (tensor/blocks.h names a block's numbers):
//
//   activations  x is cut into blocks of the weight's block size B (32 or 256). In each block
//                  amax = max |x|;  d = amax / 127;  q = round to nearest even of x * (127 / amax)
//                where division, product and d each round once to f32. A block whose amax is below 2^-119 has
//                d = 0 and q = 0. A block with a NaN or an infinity has d = NaN and q = 0.
//   per block    isum = sum over sub-blocks j of scale_j * (sum over i in j of wq_i * q_i)
//                msum = sum over sub-blocks j of least_j * (sum over i in j of q_i)
//                exactly, in int32. |isum| is largest for Q6_K, 16 * 128 * 16 * 32 * 127 < 2^28.
//   per output   acc = +0; for each block in order:
//                  acc = fma(f32(dw * d), f32(isum), acc)
//                  acc = fma(-f32(dmin * d), f32(msum), acc)     if the format has minimums
//                and the bias is added last. f32() rounds to nearest even.
//
// Integers may be summed in any order, so the instruction set, tiles, threads and the number of rows never
// change a bit.
//
// In memory, a matrix is cut into panels of kQuantPanel rows, and a panel holds the bytes of the file's
// blocks, rearranged so that lanes run over outputs: each part of the format's block (its nibbles, its
// scales) lies together for all blocks of the panel, and words number i of the sixteen rows follow each
// other. Q8_0's bytes are stored with their top bit flipped. Rows beyond N are zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/threads.h"
#include "tensor/stored.h"

namespace r1 {

inline constexpr int64_t kQuantPanel = 16;

// A matrix [N, K] in panels. K is a multiple of the format's block, and no scale is NaN or infinite
// (first_bad_scale).
struct QuantMatrix {
  Format format = Format::q8_0;
  int64_t N = 0, K = 0;
  const std::byte* panels = nullptr;
};
// Return the bytes of one panel, a multiple of 64, and of all panels of a matrix.
int64_t quant_panel_bytes(Format format, int64_t K);
int64_t quant_bytes(Format format, int64_t N, int64_t K);

// Rearranges `width` (at most kQuantPanel) rows of stored blocks, which follow each other, as one panel.
void pack_quant_panel(Format format, const std::byte* rows, int64_t width, int64_t K, std::byte* panel);
// Puts row n of a matrix back: its blocks as they were stored.
void unpack_quant_row(const QuantMatrix& w, int64_t n, std::byte* row);

// The element of the first block whose scale or minimum is NaN or infinite; -1 if there is none.
int64_t first_bad_scale(Format format, std::span<const std::byte> blocks);

// ---- activations

// A quantised row: int8 q [K], f32 d [K / B], int32 start [K / sub], then for formats with minimums either
// int16 pairs of sums [K / sub] (B = 256) or f32 sums [K / B] (B = 32). start = -offset * sum of q, where
// offset is what an unpacked weight is above its number (quant_unpack.h).
struct QuantRowLayout {
  explicit QuantRowLayout(Format format, int64_t K);
  int64_t d = 0, start = 0, sums = 0;  // offsets in bytes
  int64_t bytes = 0;                   // of a row, a multiple of 64
};
// x [M, K], row by row -> rows [M][layout.bytes], for products with `format`. On the calling thread.
void quantise_rows(Format format, const float* x, int64_t M, int64_t K, std::byte* rows);

// ---- products

// y [M, N] = x W^T. `x` are rows that were quantised for the matrix's format.
struct QuantProduct {
  QuantMatrix w;
  const std::byte* x = nullptr;
  int64_t M = 0;
  float* y = nullptr;
};
// Many independent products, shared by all threads. Outputs must not overlap.
void quant_products(ThreadPool& threads, std::span<const QuantProduct> list);

namespace ref {
// The contract, literally. w: N rows of stored blocks. y [M, N].
void quant_matmul(Format format, const std::byte* w, const float* x, const float* bias, int64_t M, int64_t N,
                  int64_t K, float* y);
}  // namespace ref

}  // namespace r1
