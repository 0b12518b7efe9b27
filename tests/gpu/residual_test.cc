// tests/gpu/residual_test.cc: parts of a block that few rows run in one launch have the bits of their ops one by one,
// which many rows run: norms in front of products, SwiGLU and sums behind them.
#include "ops/residual/residual.h"

#include "ops/matmul/tensor_stream_cuda.h"
#include "ops/norm/norm.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"

namespace r1::residual_test {
using namespace test;

class CudaResidual : public OnDevice {};

struct ResidualCase {
  int64_t D, F, K;  // widths of the stream, of the gate, and of the input of the product that is added
  uint64_t seed;
};

struct ResidualResult {
  std::vector<float> first, second, gated, x, normed;
};

std::vector<float> bf16_values(DeviceRun& r, const Tensor& t) {
  std::vector<float> out(static_cast<size_t>(t.count()));
  read_values(r.ctx.memory(), t, 0, out, r.ctx.stream);
  return out;
}

// The parts of a block with T rows.
ResidualResult run_parts(const ResidualCase& c, int64_t T) {
  const auto [D, F, K, seed] = c;
  DeviceRun r(false);
  r.ctx.numerics = Numerics::cuda_bf16;
  Memory& memory = r.ctx.memory();
  Random random(seed);
  const auto placed = [&](Shape shape) {
    const std::vector<float> values = random_normal(random, shape.count()),
                             none(static_cast<size_t>(shape.count()));
    return std::make_unique<PlacedParameter>(memory, shape, values, none);
  };
  const auto norm = placed({D}), next = placed({D}), third = placed({D}), wq = placed({D + 8, D}),
             bq = placed({D + 8}), wk = placed({24, D}), bk = placed({24}), gate = placed({F, D}),
             up = placed({F, D}), up_bias = placed({F}), down = placed({D, K}), down_bias = placed({D});
  const Weight q(&wq->p, &bq->p), k(&wk->p, &bk->p), g(&gate->p), u(&up->p, &up_bias->p),
      d(&down->p, &down_bias->p);
  // Rows of x are the same whatever T is.
  const std::vector<float> x_all = random_normal(random, 64 * D), y_all = random_normal(random, 64 * K),
                           term_all = random_normal(random, 64 * D);
  const Tensor x = r.input({T, D}, std::span(x_all).first(static_cast<size_t>(T * D)));
  const Tensor y = r.ctx.output({T, K}, DType::bf16);
  write_values(memory, y, 0, std::span(y_all).first(static_cast<size_t>(T * K)), r.ctx.stream);
  r.poison(size_t{16} << 20);
  ResidualStream stream(r.ctx, x, {&norm->p, 1e-6f});
  ResidualResult out;
  const auto products = stream.matmuls(r.ctx, {&q, &k});
  out.first = bf16_values(r, products[0]);
  out.second = bf16_values(r, products[1]);
  stream.add_matmul(r.ctx, y, d, {&next->p, 1e-5f});
  out.gated = bf16_values(r, stream.gated(r.ctx, g, u));
  stream.add(r.ctx, r.input({T, D}, std::span(term_all).first(static_cast<size_t>(T * D))),
             {&third->p, 1e-6f});
  out.normed = bf16_values(r, stream.normed(r.ctx));
  out.x = r.values(x);
  return out;
}

TEST_F(CudaResidual, PartsOfFewRowsHaveTheBitsOfTheirOpsOneByOne) {
  uint64_t seed = 1;
  for (const auto& [D, F, K] : std::vector<std::array<int64_t, 3>>{{1536, 600, 512},
                                                                   {256, 1040, 8960},
                                                                   {576, 1536, 576},
                                                                   {128, 136, 128},
                                                                   {64, 48, 16},
                                                                   {72, 40, 24},
                                                                   {128, 3000, 3072},
                                                                   {2048, 264, 2048}}) {
    const ResidualCase c{D, F, K, ++seed};
    const ResidualResult many = run_parts(c, 40);
    for (const int64_t T : {1, 3, 8, 13, 32}) {
      const ResidualResult few = run_parts(c, T);
      const std::string what = std::to_string(T) + " rows of " + std::to_string(D) + ", " +
                               std::to_string(F) + ", " + std::to_string(K) + ": ";
      const auto expect_first = [&](const std::vector<float>& got, const std::vector<float>& all,
                                    const char* part) {
        ASSERT_LT(got.size(), all.size());
        expect_cpu_bits(got, std::span(all).first(got.size()), what + part);
      };
      expect_first(few.first, many.first, "the first product");
      expect_first(few.second, many.second, "the second product");
      expect_first(few.gated, many.gated, "the gated products");
      expect_first(few.x, many.x, "the stream");
      expect_first(few.normed, many.normed, "the last norm");
    }
  }
}

// An op that is never fused would pass the test above.
TEST_F(CudaResidual, ShapesOfPublishedModelsAreStreamed) {
  const DeviceInts words(64);
  const auto* bits = reinterpret_cast<const uint16_t*>(words.data());
  const auto product = [&](int64_t T, int64_t N, int64_t K) {
    return cuda::forward_product(
        {.x = bits, .T = T, .w = bits, .N = N, .K = K, .y_bf16 = true, .most_shards = 8});
  };
  const auto* x = reinterpret_cast<const float*>(words.data());
  for (const auto& [D, F] :
       std::vector<std::array<int64_t, 2>>{{1536, 8960}, {1024, 3072}, {4096, 12288}, {576, 1536}}) {
    const std::array<cuda::TensorProduct, 2> pair = {product(1, F, D), product(1, F, D)};
    EXPECT_TRUE(cuda::stream_fits({.products = pair, .output = cuda::StreamOutput::gate, .x = x, .norm = x}))
        << D;
    const cuda::TensorProduct down = product(1, D, F), many = product(32, F, D), too_many = product(33, F, D);
    EXPECT_TRUE(cuda::stream_fits({.products = {&down, 1}, .output = cuda::StreamOutput::add})) << D;
    // Q of 32 rows of 4,096 takes the shared memory of several multiprocessors, which form clusters on sm_90.
    if (cuda::starts_early()) {
      EXPECT_TRUE(cuda::stream_fits({.products = {&many, 1}})) << D;
    }
    EXPECT_FALSE(cuda::stream_fits({.products = {&too_many, 1}})) << D;
  }
}

}  // namespace r1::residual_test
