// ops/matmul/weight_products_cuda.cu: the products of a weight, as operands of tensor_product().
#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

TensorProduct forward_product(const TensorForward& f) {
  return {.I = f.N,
          .J = f.T,
          .K = f.K,
          .p = {f.w, f.K, true},
          .q = {f.x, f.K, true},
          .d = f.y,
          .d_i = 1,
          .d_j = f.N,
          .d_bf16 = f.y_bf16,
          .bias = f.bias,
          .round_bias = true,
          .most_shards = f.most_shards,
          .early = f.early};
}

TensorProduct input_gradient_product(const uint16_t* dy, int64_t T, const uint16_t* w, int64_t N, int64_t K,
                                     int64_t most_shards, bool accumulate, float* dx) {
  return {.I = K,
          .J = T,
          .K = N,
          .p = {w, K, false},
          .q = {dy, N, true},
          .d = dx,
          .d_i = 1,
          .d_j = K,
          .accumulate = accumulate,
          .most_shards = most_shards};
}

TensorProduct weight_gradient_product(const uint16_t* x, const uint16_t* dy, int64_t T, int64_t N, int64_t K,
                                      const int32_t* rows, int64_t steps, float* dw) {
  return {.I = N,
          .J = K,
          .K = rows != nullptr ? steps : T,
          .p = {dy, N, false},
          .q = {x, K, false},
          .d = dw,
          .d_i = K,
          .d_j = 1,
          .accumulate = true,
          .k_rows = rows};
}

}  // namespace r1::cuda
