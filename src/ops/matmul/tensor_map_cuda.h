// ops/matmul/tensor_map_cuda.h: maps of operands and outputs for the copy engine of sm_90. Private to this folder.
//
// Boxes lie in shared memory in lines of 128 bytes, swizzled as wgmma_cuda.cuh has it. Throws Error if the driver refuses a
// map: rows must lie a multiple of 16 bytes apart, and begin at one.
#pragma once

#include <cuda.h>

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// `rows` rows of K in `shards` shards of `part` k. Boxes: 64 k of box_rows rows, at {k, shard, row}; or of an operand by
// rows 64 rows of box_k k, at {row, k, shard}. Past the end of a shard there are zeros.
struct OperandBoxes {
  int64_t rows = 0, part = 0, shards = 1;
  int box_rows = 0, box_k = 0;
};
CUtensorMap operand_map(const TensorOperand& operand, const OperandBoxes& boxes);

// D whose neighbours in i are neighbours in memory. Boxes: 128 bytes in i, box_j in j, at {i, j}.
CUtensorMap output_map(const TensorProduct& product, int box_j);
// True if D can have such a map.
bool output_has_map(const TensorProduct& product);

}  // namespace r1::cuda
