// ops/matmul/quant_product_cuda.h: quantised matrices on a CUDA device, in cuda-bf16: tiles (quant_tiles.h) from stored
// blocks, rows from tiles, and products.
//
// A product is that of tensor_product_cuda.h with the matrix of the numbers that the blocks stand for, each rounded once to
// bf16: the bits are those of a model in bf16 that was made of this file. Few rows of x are multiplied by a kernel that
// reads tiles; for more, rows are dequantised piece by piece and given to the kernels for bf16.
//
// Pointers are the device's. Work is queued on `stream` (a cudaStream_t) and nothing is allocated. Throws Error if a launch
// is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/matmul/tensor_product_cuda.h"
#include "tensor/stored.h"

namespace r1::cuda {

// A quantised matrix [N, K] as tiles, aligned to 16 bytes.
struct QuantTiles {
  Format format = Format::q8_0;
  int64_t N = 0, K = 0;
  const std::byte* data = nullptr;
};

// Rows [first, first + rows) of blocks as stored, at `blocks`, -> their tiles of `to`. `first` is a multiple of 16.
// FP8's codes count as blocks of one element; its scales are copied by the caller.
void pack_tiles(const QuantTiles& to, const std::byte* blocks, int64_t first, int64_t rows, void* stream);

// Rows [first, first + rows) as bits of bf16 -> to [rows, K]. `first` is a multiple of 16.
void dequantise_tiles(const QuantTiles& from, int64_t first, int64_t rows, uint16_t* to, void* stream);
// Row indices[i], or first + i without indices, for i < count -> to [count, K], rounded to bf16, in f32.
void widen_tile_rows(const QuantTiles& from, const int32_t* indices, int64_t first, int64_t count, float* to,
                     void* stream);

// Up to so many rows of x the kernel that reads tiles is chosen: it reads them, and turns codes into bf16, once per 16
// rows. Measured on an H200: 16 rows take 40 us (14336 x 4096), 64 rows 124 to 144; dequantised first, 100.
inline constexpr int64_t kMostQuantRows = 32;

// y [T, N] = x [T, K] W^T (+ bias), as forward_product() has it. `product` is that of the same matrix in bf16; its p is not
// read.
struct QuantProductOnTiles {
  QuantTiles w;
  TensorProduct product;
};
// Products of one x, one K and any formats, by the kernel that reads tiles, for any T. `name` of the launch in times by
// kernel: "product y, few rows, Q4_K".
void quant_products_of(std::span<const QuantProductOnTiles> products, void* stream);
// Products of experts of one shape and format whose rows of x and y are sorted by expert (TensorGroups): matrices[e] are
// the tiles of expert e, `one.w.data` is not read.
void quant_products(const QuantProductOnTiles& one, const TensorGroups& groups, void* stream);

}  // namespace r1::cuda
