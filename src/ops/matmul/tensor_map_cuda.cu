#include <cuda_runtime.h>

#include <array>

#include "base/error.h"
#include "ops/matmul/tensor_map_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                 CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill);

// The driver's function, so that programs need not be linked with the driver's library.
EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    constexpr unsigned kSince = 12000;  // the CUDA that brought it
    void* found = nullptr;
    cudaDriverEntryPointQueryResult status{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, kSince, cudaEnableDefault,
                                           &status),
          "cudaGetDriverEntryPointByVersion");
    if (status != cudaDriverEntryPointSuccess)
      throw Error("the CUDA driver has no cuTensorMapEncodeTiled: install a driver for CUDA 12.0 or newer");
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

// Dimensions from the innermost on; strides are in bytes, of all but the innermost.
template <size_t kDimensions>
CUtensorMap encode(CUtensorMapDataType type, const void* data,
                   const std::array<cuuint64_t, kDimensions>& size,
                   const std::array<cuuint64_t, kDimensions - 1>& stride,
                   const std::array<cuuint32_t, kDimensions>& box) {
  std::array<cuuint32_t, kDimensions> apart;
  apart.fill(1);
  CUtensorMap map;
  const CUresult result =
      encode_tiled()(&map, type, kDimensions, const_cast<void*>(data), size.data(), stride.data(), box.data(),
                     apart.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  R1_CHECK(result == CUDA_SUCCESS, "cuTensorMapEncodeTiled: error ", static_cast<int>(result), ", matrix of ",
           size[0], " x ", size[1]);
  return map;
}

}  // namespace

CUtensorMap operand_map(const TensorOperand& operand, const OperandBoxes& boxes) {
  constexpr cuuint64_t kBytes = sizeof(uint16_t);
  constexpr cuuint32_t kLine = 128 / kBytes;
  const auto row = static_cast<cuuint64_t>(operand.row) * kBytes, rows = static_cast<cuuint64_t>(boxes.rows),
             part = static_cast<cuuint64_t>(boxes.part), shards = static_cast<cuuint64_t>(boxes.shards);
  if (operand.by_k)
    return encode<3>(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, operand.data, {part, shards, rows},
                     {shards == 1 ? row : part * kBytes, row},
                     {kLine, 1, static_cast<cuuint32_t>(boxes.box_rows)});
  return encode<3>(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, operand.data, {rows, part, shards}, {row, part * row},
                   {kLine, static_cast<cuuint32_t>(boxes.box_k), 1});
}

CUtensorMap output_map(const TensorProduct& product, int box_j) {
  const cuuint64_t bytes = product.d_bf16 ? sizeof(uint16_t) : sizeof(float);
  return encode<2>(product.d_bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                   product.d, {static_cast<cuuint64_t>(product.I), static_cast<cuuint64_t>(product.J)},
                   {static_cast<cuuint64_t>(product.d_j) * bytes},
                   {static_cast<cuuint32_t>(128 / bytes), static_cast<cuuint32_t>(box_j)});
}

bool output_has_map(const TensorProduct& product) {
  const int64_t bytes = product.d_bf16 ? sizeof(uint16_t) : sizeof(float);
  return product.d_i == 1 && product.d_j * bytes % 16 == 0 &&
         reinterpret_cast<uintptr_t>(product.d) % 16 == 0;
}

}  // namespace r1::cuda
