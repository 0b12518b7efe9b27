// tests/ops/tensor_shards_test.cc: how products on tensor cores cut K. Pure arithmetic, so it needs no GPU.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "ops/matmul/tensor_product_cuda.h"
#include "tensor/numerics.h"

namespace r1::tensor_shards_test {
namespace {

TEST(TensorShards, FollowFromKAlone) {
  const int64_t most = row_of(Numerics::cuda_bf16).k_shards;
  for (const auto& [K, count, steps] :
       std::vector<std::array<int64_t, 3>>{{14336, 8, 112},
                                           {8960, 8, 70},
                                           {1536, 8, 12},
                                           {576, 4, 9},  // 8 shards: 4.5 steps each
                                           {128, 2, 4},  // of at least four steps
                                           {64, 1, 4},
                                           {100, 1, 7},  // the last step is short
                                           {0, 1, 0}}) {
    EXPECT_EQ(cuda::tensor_shards(K, most).count, count) << K;
    EXPECT_EQ(cuda::tensor_shards(K, most).steps, steps) << K;
  }
}

}  // namespace
}  // namespace r1::tensor_shards_test
