// Token embedding is a copy. Its gradient adds rows in the order of t, whatever the threads and cuts.
#include "ops/embed/embed.h"

#include "tests/ops/test_util.h"

namespace r1::embed_test {
namespace {
using namespace test;

struct Case {
  Case(int64_t t, int64_t v, int64_t d) : T(t), V(v), D(d) {
    Random random(static_cast<uint64_t>(t * 31 + d));
    table = random_normal(random, V * D);
    dy = random_normal(random, T * D);
    for (int64_t i = 0; i < T; ++i) tokens.push_back(static_cast<int32_t>(random.below(V)));
  }
  int64_t T, V, D;
  std::vector<float> table, dy;
  std::vector<int32_t> tokens;
};

// Returns y, then the table's gradient. The batch is cut at `cut` into two calls.
std::vector<float> run(const Case& c, int threads, int64_t cut) {
  OwnedParameter table({c.V, c.D}, c.table, true, 0.5f);
  std::vector<float> out;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, c.T}}) {
    OpRun r(true, threads);
    const auto part = std::span<const int32_t>(c.tokens).subspan(static_cast<size_t>(begin),
                                                                 static_cast<size_t>(end - begin));
    const Tensor y = embed(r.ctx, part, Weight(&table.p));
    append(out, y.values());
    r.seed(y, std::span<const float>(c.dy).subspan(static_cast<size_t>(begin * c.D),
                                                   static_cast<size_t>((end - begin) * c.D)));
    r.backward();
  }
  append(out, table.p.grad.values());
  return out;
}

TEST(Embed, CopiesRowsAndAddsGradientsInTheOrderOfTime) {
  for (const int64_t D : {1, 15, 16, 33, 128}) {
    const Case c(97, 11, D);
    std::vector<float> want, grad(c.table.size(), 0.5f);
    for (int64_t t = 0; t < c.T; ++t) {
      const int64_t row = c.tokens[static_cast<size_t>(t)];
      for (int64_t d = 0; d < D; ++d) {
        want.push_back(c.table[static_cast<size_t>(row * D + d)]);
        grad[static_cast<size_t>(row * D + d)] += c.dy[static_cast<size_t>(t * D + d)];
      }
    }
    append(want, grad);
    expect_same_bits(run(c, 2, c.T), want, "D " + std::to_string(D));
    for (const int64_t cut : {0, 1, 50, 96}) expect_same_bits(run(c, 2, cut), want, "cut");
    expect_one_answer([&](int threads) { return run(c, threads, 40); }, "embed");
  }
}

TEST(Embed, RefusesTokensOutOfRangeAndTakesNone) {
  OpRun r;
  OwnedParameter table({4, 3}, std::vector<float>(12, 1.0f), false);
  const std::vector<int32_t> beyond = {4}, negative = {-1}, good = {3};
  EXPECT_THROW(embed(r.ctx, beyond, Weight(&table.p)), BrokenInvariant);
  EXPECT_THROW(embed(r.ctx, negative, Weight(&table.p)), BrokenInvariant);
  EXPECT_EQ(embed(r.ctx, {}, Weight(&table.p)).shape, Shape({0, 3}));
  r.seed(embed(r.ctx, good, Weight(&table.p)), std::vector<float>(3, 1.0f));
  r.backward();  // the table is frozen, so there is nothing to write to
}

}  // namespace
}  // namespace r1::embed_test
