// tests/gpu/tensor_moe_test.cc: the mixture of experts of cuda-bf16 is near the reference in double, and neither company
// nor the cut of a batch changes a bit.
#include <numeric>

#include "ops/moe/moe.h"
#include "tensor/token_steps.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace tensor_moe_test {
namespace {
using namespace test;

class CudaTensorMoe : public OnDevice {};

using Numbers = std::vector<float>;

Numbers rounded(Numbers values) {
  for (float& value : values) value = f32_from_bf16(bf16_from_f32(value));
  return values;
}

struct ExpertCase {
  ExpertCase(const MoeConfig& moe, int64_t t, int64_t d, int64_t f, uint64_t seed)
      : config(moe), T(t), D(d), F(f) {
    Random random(seed);
    const auto matrix = [&](int64_t n, int64_t k) {
      return rounded(random_normal(random, n * k, 1.2 / std::sqrt(static_cast<double>(k))));
    };
    matrices.push_back(matrix(config.experts, D));
    for (int64_t e = 0; e < config.experts; ++e) {
      matrices.push_back(matrix(F, D));
      matrices.push_back(matrix(F, D));
      matrices.push_back(matrix(D, F));
    }
    bias.assign(static_cast<size_t>(config.experts), 0.0f);
    x = rounded(random_normal(random, T * D));
    dy = random_normal(random, T * D);
  }
  std::string name() const {
    return "T " + std::to_string(T) + " D " + std::to_string(D) + " F " + std::to_string(F) + " E " +
           std::to_string(config.experts) + " A " + std::to_string(config.active);
  }
  MoeConfig config;
  int64_t T, D, F;
  std::vector<Numbers> matrices;  // router, then each expert's gate, up, down
  Numbers bias, x, dy;
};

struct ExpertRun {
  Numbers y, dx;
  std::vector<Numbers> gradients;  // in the order of `matrices`
};

// Runs tokens [begin, end), which are families of these lengths, in one piece per entry of `pieces`: so many families
// each. No families: without a list of steps.
ExpertRun run_experts(const ExpertCase& c, const std::vector<int64_t>& families,
                      const std::vector<int64_t>& pieces, bool with_tape = true) {
  DeviceRun r(with_tape);
  r.ctx.numerics = Numerics::cuda_bf16;
  std::vector<std::unique_ptr<PlacedParameter>> all;
  size_t at = 0;
  const auto next = [&](int64_t n, int64_t k) {
    all.push_back(std::make_unique<PlacedParameter>(r.ctx.memory(), Shape{n, k}, c.matrices[at],
                                                    Numbers(c.matrices[at].size(), 0.0f)));
    ++at;
    return &all.back()->p;
  };
  MoeWeights w;
  w.config = c.config;
  w.router = Weight(next(c.config.experts, c.D));
  for (int64_t e = 0; e < c.config.experts; ++e) {
    Parameter *const gate = next(c.F, c.D), *const up = next(c.F, c.D), *const down = next(c.D, c.F);
    w.experts.push_back({Weight(gate), Weight(up), Weight(down)});
  }
  ExpertRun out;
  size_t family = 0;
  int64_t token = 0;
  for (const int64_t count : pieces) {
    const OpScope scope(r.ctx);
    const std::vector<int64_t> mine(families.begin() + static_cast<int64_t>(family),
                                    families.begin() + static_cast<int64_t>(family) + count);
    const int64_t T = std::accumulate(mine.begin(), mine.end(), int64_t{0});
    family += static_cast<size_t>(count);
    const std::vector<int32_t> rows = token_step_rows(mine);
    const Buffer list({std::ssize(rows)}, DType::i32, r.ctx.memory());
    r.ctx.memory().write(list.tensor().data, rows.data(), rows.size() * sizeof(int32_t));
    const TokenSteps steps{mine, rows, static_cast<const int32_t*>(list.tensor().data)};
    r.ctx.steps = &steps;
    const auto cut = [&](const Numbers& from) {
      return Numbers(from.begin() + token * c.D, from.begin() + (token + T) * c.D);
    };
    const Tensor x = r.ctx.output({T, c.D}, DType::bf16);
    write_values(r.ctx.memory(), x, 0, cut(c.x), r.ctx.stream);
    Numbers dx;
    if (with_tape) r.want(x, &dx);
    r.poison(size_t{16} << 20);
    const Tensor y = moe(r.ctx, {}, x, w);
    const Numbers values = r.guarded_values(y);
    out.y.insert(out.y.end(), values.begin(), values.end());
    if (with_tape) {
      r.seed(y, cut(c.dy));
      r.backward();
      out.dx.insert(out.dx.end(), dx.begin(), dx.end());
    }
    token += T;
    r.ctx.steps = nullptr;
  }
  for (const auto& p : all) out.gradients.push_back(p->gradient());
  return out;
}

double distance_from(const Numbers& got, const std::vector<double>& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    size += std::pow(want[i], 2);
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

std::vector<ExpertCase> expert_cases() {
  const auto config = [](int64_t experts, int64_t active) {
    // The weight of a single expert has no gradient if it is normed: it is 1.
    return MoeConfig{
        .experts = experts, .active = active, .groups = 1, .top_groups = 1, .norm_topk = active > 1};
  };
  return {ExpertCase(config(3, 2), 1, 16, 8, 1),     ExpertCase(config(5, 2), 70, 24, 19, 2),
          ExpertCase(config(32, 4), 600, 64, 48, 3), ExpertCase(config(8, 8), 300, 136, 72, 4),
          ExpertCase(config(12, 3), 500, 33, 17, 5), ExpertCase(config(6, 1), 1500, 128, 264, 6)};
}

// A token whose experts are a near tie in f32 may choose others in bf16: the router's rows are near, and such cases are
// few; the tokens here have none.
TEST_F(CudaTensorMoe, IsNearTheReferenceForwardAndBackward) {
  for (const ExpertCase& c : expert_cases()) {
    const ExpertRun got = run_experts(c, {c.T}, {1});
    std::vector<const float*> gate, up, down;
    for (int64_t e = 0; e < c.config.experts; ++e) {
      const auto at = static_cast<size_t>(1 + 3 * e);
      gate.push_back(c.matrices[at].data());
      up.push_back(c.matrices[at + 1].data());
      down.push_back(c.matrices[at + 2].data());
    }
    std::vector<double> y(static_cast<size_t>(c.T * c.D));
    ref::moe(c.x.data(), c.matrices[0].data(), c.bias.data(), c.config, gate.data(), up.data(), down.data(),
             c.T, c.D, c.F, y.data());
    const ref::MoeGradients want =
        ref::moe_backward(c.x.data(), c.matrices[0].data(), c.bias.data(), c.config, gate.data(), up.data(),
                          down.data(), c.dy.data(), nullptr, 0, 0, c.T, c.D, c.F);
    double worst = 0;
    for (int64_t e = 0; e < c.config.experts; ++e) {
      const auto at = static_cast<size_t>(1 + 3 * e), i = static_cast<size_t>(e);
      worst = std::max({worst, distance_from(got.gradients[at], want.gate[i]),
                        distance_from(got.gradients[at + 1], want.up[i]),
                        distance_from(got.gradients[at + 2], want.down[i])});
    }
    std::printf("%s: y %.1e, dx %.1e, router %.1e, experts %.1e from the reference\n", c.name().c_str(),
                distance_from(got.y, y), distance_from(got.dx, want.x),
                distance_from(got.gradients[0], want.router), worst);
    EXPECT_LT(distance_from(got.y, y), 1e-2) << c.name();
    EXPECT_LT(distance_from(got.dx, want.x), 1e-2) << c.name();
    EXPECT_LT(distance_from(got.gradients[0], want.router), 2e-2) << c.name();
    EXPECT_LT(worst, 1.5e-2) << c.name();
  }
}

void expect_same(const ExpertRun& got, const ExpertRun& want, const std::string& what) {
  expect_cpu_bits(got.y, want.y, what + ", y");
  expect_cpu_bits(got.dx, want.dx, what + ", dx");
  for (size_t i = 0; i < want.gradients.size(); ++i)
    expect_cpu_bits(got.gradients[i], want.gradients[i], what + ", matrix " + std::to_string(i));
}

TEST_F(CudaTensorMoe, PiecesOfABatchChangeNoBitOfAGradient) {
  const MoeConfig config{.experts = 12, .active = 3, .groups = 1, .top_groups = 1};
  for (const auto& [D, F] : {std::pair<int64_t, int64_t>{64, 40}, {33, 17}, {136, 264}}) {
    const std::vector<int64_t> families{100, 1, 37, 250, 16, 90, 5, 5, 5, 120};
    const ExpertCase c(config, std::accumulate(families.begin(), families.end(), int64_t{0}), D, F, 7);
    const ExpertRun whole = run_experts(c, families, {10});
    const std::string name = c.name();
    expect_same(run_experts(c, families, {10}), whole, name + " again");
    expect_same(run_experts(c, families, {1, 2, 3, 4}), whole, name + " in four pieces");
    expect_same(run_experts(c, families, std::vector<int64_t>(10, 1)), whole, name + " family by family");
    expect_cpu_bits(run_experts(c, families, {4, 6}, false).y, whole.y, name + " without a tape");
  }
}

// One token at a time, a few (one block sorts their slots), and many.
TEST_F(CudaTensorMoe, TokensHaveTheirBitsAloneAndTogether) {
  const MoeConfig config{.experts = 64, .active = 6, .groups = 1, .top_groups = 1};
  const ExpertCase c(config, 3000, 48, 32, 8);
  const ExpertRun whole = run_experts(c, {3000}, {1}, false);
  std::vector<int64_t> few;
  for (int64_t left = 3000, n = 1; left > 0; left -= few.back(), n = n % 97 * 2 + 1)
    few.push_back(std::min(n, left));
  expect_cpu_bits(run_experts(c, few, std::vector<int64_t>(few.size(), 1), false).y, whole.y,
                  "few at a time");
}

}  // namespace
}  // namespace tensor_moe_test
}  // namespace r1
