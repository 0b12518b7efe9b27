// ops/matmul/tensor_parts_cuda.cu: bf16 products whose shards are computed side by side, for rows of decoding: a tile
// that walks a long K alone would leave most of the device idle.
#include "base/error.h"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/matmul/tensor_tile_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {

int64_t split_parts(const TensorProduct& product) {
  constexpr int64_t kLeastK = 2048, kMostRows = 512, kMostOutputs = int64_t{1} << 21;
  const TensorShards shards = tensor_shards(product.K, product.most_shards);
  const int64_t outputs = product.I * product.J;
  constexpr int64_t kFewRowsMost = 32;  // fewer have kernels of their own
  const bool pays = product.K >= kLeastK && product.J > kFewRowsMost && product.J <= kMostRows &&
                    outputs > kFewOutputs && outputs <= kMostOutputs && !wgmma_shards_fit(product);
  return pays && product.p.by_k && product.q.by_k && !product.accumulate && shards.count > 1 ? shards.count
                                                                                             : 1;
}

namespace {

// D from the shards' sums, in order.
__global__ void __launch_bounds__(256) add_shards(TensorProduct product, const float* sums, int64_t count) {
  let_next_start();
  await_previous();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, outputs = product.I * product.J;
  if (at >= outputs) return;
  float total = sums[at];
  for (int64_t s = 1; s < count; ++s) total = __fadd_rn(total, sums[s * outputs + at]);
  store_total(product, at % product.I, at / product.I, total);
}

}  // namespace

void tensor_product_in_parts(const TensorProduct& product, float* sums, void* stream) {
  const int64_t count = tensor_shards(product.K, product.most_shards).count;
  const int64_t part = product.K / count, outputs = product.I * product.J;
  R1_CHECK(count > 1, "a product that is not split");
  TensorProduct one = product;  // of one shard
  one.K = part;
  one.d = sums, one.d_i = 1, one.d_j = product.I, one.d_bf16 = false;
  one.bias = nullptr;
  one.most_shards = 1;
  const TensorGroups groups{.count = count, .p = part, .q = part, .d = outputs};
  tensor_products(one, groups, TensorKernel::large_tiles, stream);
  launch_early(product.early, "add_shards", add_shards, static_cast<unsigned>((outputs + 255) / 256), 256, 0,
               stream, product, static_cast<const float*>(sums), count);
}

}  // namespace r1::cuda
