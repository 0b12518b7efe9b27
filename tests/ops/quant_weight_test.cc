// A Weight of blocks: products follow the contract of quant.h, look-ups and other numerics see the dequantised
// numbers, and memory holds the file's bytes once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/embed/embed.h"
#include "ops/matmul/matmul.h"
#include "ops/moe/moe.h"
#include "ops/moe/route.h"
#include "ops/swiglu/swiglu.h"
#include "tensor/blocks.h"
#include "tests/ops/quant_util.h"
#include "tests/ops/test_util.h"

namespace r1::quant_weight_test {
namespace {

using test::expect_same_bits;
using test::OpRun;
using test::random_normal;
using test::to_vector;

class BlockBytes final : public StoredBytes {
 public:
  explicit BlockBytes(std::vector<std::byte> b) : bytes(std::move(b)) {}
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    R1_CHECK(begin + to.size() <= bytes.size(), "beyond the end");
    std::copy_n(bytes.begin() + static_cast<int64_t>(begin), to.size(), to.begin());
  }
  std::vector<std::byte> bytes;

 private:
  std::string path_ = "model.gguf";
};

struct BlockMatrix {
  BlockMatrix(Format format, int64_t n, int64_t k, uint64_t seed, DType type = DType::f32)
      : owner(std::make_shared<BlockBytes>(random_blocks(format, n * k, seed))) {
    p.name = "w";
    p.value.shape = {n, k};
    p.value.dtype = type;
    p.stored = {
        .name = "w", .format = format, .shape = {n, k}, .begin = 0, .owner = owner, .scales = nullptr};
  }
  std::vector<float> values() const {
    std::vector<float> out(static_cast<size_t>(p.value.count()));
    dequantise_blocks(p.stored.format, owner->bytes, out);
    return out;
  }
  std::shared_ptr<BlockBytes> owner;
  Parameter p;
};

TEST(QuantWeight, ProductsFollowTheContractAndTheBiasIsAddedLast) {
  for (const Format format : block_formats()) {
    const int64_t T = 3, N = 37, K = 2 * row_of(format).elements;
    BlockMatrix m(format, N, K, 1);
    Random random(2);
    const std::vector<float> x = random_normal(random, T * K), bias = random_normal(random, N);
    test::OwnedParameter b({N}, bias, false);
    const Weight w(&m.p, &b.p);
    std::vector<float> want(static_cast<size_t>(T * N));
    ref::quant_matmul(format, m.owner->bytes.data(), x.data(), bias.data(), T, N, K, want.data());
    for (const int threads : {1, 3}) {
      OpRun run(false, threads);
      run.ctx.numerics = Numerics::cpu_q8act;
      expect_same_bits(to_vector(matmul(run.ctx, run.input({T, K}, x), w)), want,
                       std::string(name_of(format)));
    }
    EXPECT_LE(w.held_bytes(), bytes_of(format, (N + 15) / 16 * 16 * K) + 64 * 3) << name_of(format);
  }
}

TEST(QuantWeight, LookUpsAndOtherNumericsSeeTheDequantisedNumbers) {
  for (const Format format : block_formats()) {
    const int64_t N = 20, K = row_of(format).elements, T = 4;
    BlockMatrix m(format, N, K, 3);
    const std::vector<float> values = m.values();
    test::OwnedParameter dense({N, K}, values, false);
    const Weight w(&m.p), table(&m.p, nullptr, Weight::Layout::rows), plain(&dense.p);
    Random random(4);
    const std::vector<float> x = random_normal(random, T * K);
    const std::vector<int32_t> tokens{19, 0, 7, 7};
    for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_q8act, Numerics::cpu_f32}) {
      OpRun run(false, 2);
      run.ctx.numerics = numerics;
      std::vector<float> rows(static_cast<size_t>(N * K));
      w.dequantise(run.ctx, 0, N, rows.data());
      EXPECT_TRUE(std::ranges::equal(rows, values)) << name_of(format);
      for (const Weight* each : {&w, &table}) {
        const std::vector<float> got = to_vector(embed(run.ctx, tokens, *each));
        for (size_t i = 0; i < tokens.size(); ++i)
          EXPECT_TRUE(std::equal(got.begin() + static_cast<int64_t>(i) * K,
                                 got.begin() + static_cast<int64_t>(i + 1) * K,
                                 values.begin() + tokens[i] * K))
              << name_of(format) << " " << i;
      }
      if (numerics != Numerics::cpu_f32) continue;
      const Tensor input = run.input({T, K}, x);
      expect_same_bits(to_vector(matmul(run.ctx, input, w)), to_vector(matmul(run.ctx, input, plain)),
                       std::string(name_of(format)));
    }
    EXPECT_LE(table.held_bytes(), bytes_of(format, N * K) + 64) << name_of(format);
  }
}

TEST(QuantWeight, ADamagedScaleIsOneClearLine) {
  BlockMatrix m(Format::q4_k, 20, 512, 5);
  const uint16_t infinite = 0x7C00;
  std::memcpy(m.owner->bytes.data() + (2 * 17 + 1) * 144, &infinite, 2);
  const Weight w(&m.p);
  OpRun run(false, 2);
  run.ctx.numerics = Numerics::cpu_q8act;
  try {
    w.prepare(run.ctx);
    FAIL() << "an infinite scale is accepted";
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_TRUE(text.starts_with("model.gguf: tensor w is ")) << text;
    EXPECT_NE(text.find(" at [17, "), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with("the weights are damaged")) << text;
  }
}

// Experts in blocks, each as if it were alone; experts that nobody chose are not read.
TEST(QuantWeight, ExpertsAreProductsOfTheirRows) {
  constexpr int64_t D = 64, F = 32, E = 5, T = 23, A = 2;
  std::vector<std::unique_ptr<BlockMatrix>> matrices;
  const auto make = [&](Format format, int64_t n, int64_t k) {
    matrices.push_back(std::make_unique<BlockMatrix>(format, n, k, matrices.size() + 10));
    return Weight(&matrices.back()->p);
  };
  Random random(6);
  MoeWeights w;
  w.config = {.experts = E, .active = A};
  test::OwnedParameter router({E, D}, random_normal(random, E * D, 0.2), false);
  w.router = Weight(&router.p);
  for (int64_t e = 0; e < E; ++e)  // mixed: one expert has an up projection of another format
    w.experts.push_back({make(Format::q4_0, F, D), make(e == 3 ? Format::q5_1 : Format::q4_0, F, D),
                         make(Format::q8_0, D, F)});
  const std::vector<float> x = random_normal(random, T * D);
  std::vector<float> all;
  for (const int threads : {1, 2}) {
    OpRun run(false, threads);
    run.ctx.numerics = Numerics::cpu_q8act;
    const Tensor in = run.input({T, D}, x);
    const std::vector<float> y = to_vector(moe(run.ctx, {}, in, w));
    if (all.empty()) all = y;
    expect_same_bits(y, all, "threads");
    const Routing r = route(run.ctx, in, w);
    for (int64_t t = 0; t < T; ++t) {
      const Tensor one = run.input({1, D}, std::span(x).subspan(static_cast<size_t>(t * D), D));
      expect_same_bits(to_vector(moe(run.ctx, {}, one, w)),
                       std::vector<float>(y.begin() + t * D, y.begin() + (t + 1) * D), "a token alone");
      std::vector<float> sum(D, 0.0f);
      for (int64_t a = 0; a < A; ++a) {
        const Expert& e = w.experts[static_cast<size_t>(r.experts[t * A + a])];
        const Tensor h = swiglu(run.ctx, matmul(run.ctx, one, e.gate), matmul(run.ctx, one, e.up));
        const std::vector<float> out = to_vector(matmul(run.ctx, h, e.down));
        for (size_t i = 0; i < sum.size(); ++i) sum[i] = std::fma(r.weights[t * A + a], out[i], sum[i]);
      }
      expect_same_bits(sum, std::vector<float>(y.begin() + t * D, y.begin() + (t + 1) * D), "by hand");
    }
  }
}

}  // namespace
}  // namespace r1::quant_weight_test
