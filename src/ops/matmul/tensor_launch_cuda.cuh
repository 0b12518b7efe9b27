// ops/matmul/tensor_launch_cuda.cuh: what the kernels of tensor_product() share around their launches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "ops/matmul/tensor_product_cuda.h"
#include "ops/matmul/tensor_tile_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {

// Product n has blocks [first[n], first[n + 1]).
struct ProductList {
  TensorProduct products[kMostProducts];
  int first[kMostProducts];
  __host__ __device__ bool early() const { return products[0].early; }
  __device__ int64_t select(TensorProduct& mine, int block) const {
    mine = products[0];
    int begin = 0;
#pragma unroll
    for (size_t n = 1; n < kMostProducts; ++n) {
      if (block >= first[n]) mine = products[n], begin = first[n];
    }
    return block - begin;
  }
};
// Makes the list of `products`, of which each has blocks_of(product) blocks. Returns the blocks of all.
template <class BlocksOf>
unsigned fill_list(ProductList& list, std::span<const TensorProduct> products, const BlocksOf& blocks_of) {
  int blocks = 0;
  for (size_t n = 0; n < kMostProducts; ++n) {
    list.products[n] = products[std::min(n, products.size() - 1)];
    list.first[n] = n < products.size() ? blocks : INT32_MAX;
    if (n < products.size()) blocks += static_cast<int>(blocks_of(products[n]));
  }
  return static_cast<unsigned>(blocks);
}

__device__ __forceinline__ float logit_or_gradient(const TensorProduct& product, int64_t i, int64_t j,
                                                   float total) {
  return product.gradients != nullptr ? gradient_of(product, i, j, total) : total;
}

// Vectors can be copied in every one of the products.
inline bool takes_vectors(const TensorOperand& o, int64_t apart = 0) {
  return o.row % kVector == 0 && apart % kVector == 0 && reinterpret_cast<uintptr_t>(o.data) % 16 == 0;
}
inline bool p_takes_vectors(const TensorProduct& product, const TensorGroups& groups) {
  return takes_vectors(product.p, groups.p) && (groups.starts == nullptr || groups.aligned);
}

// Bytes of shared memory that a block may have on this device.
inline int most_shared() {
  static const int most = [] {
    int device = 0, bytes = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "cudaDeviceGetAttribute");
    return bytes;
  }();
  return most;
}
template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
}

}  // namespace r1::cuda
