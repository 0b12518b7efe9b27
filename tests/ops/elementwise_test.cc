// Sums and slices of rows. They are exact, so results are compared with ==.
#include "ops/elementwise/elementwise.h"

#include "tests/ops/test_util.h"

namespace r1::elementwise_test {
namespace {
using namespace test;

constexpr int64_t kWidths[] = {1, 3, 15, 16, 17, 64, 129};

std::vector<float> sum_of(std::span<const float> a, std::span<const float> b) {
  std::vector<float> out(a.begin(), a.end());
  for (size_t i = 0; i < out.size(); ++i) out[i] += b[i];
  return out;
}

TEST(Elementwise, AddsAndPassesGradientsOn) {
  for (const int64_t N : kWidths) {
    Random random(static_cast<uint64_t>(N));
    const auto a = random_normal(random, 7 * N), b = random_normal(random, 7 * N),
               dy = random_normal(random, 7 * N);
    OpRun r;
    const Tensor ta = r.input({7, N}, a), tb = r.input({7, N}, b);
    std::vector<float> da, db;
    r.want(ta, &da);
    r.want(tb, &db);
    const Tensor y = add(r.ctx, ta, tb);
    expect_same_bits(y.values(), sum_of(a, b), "y");
    r.seed(y, dy);
    r.seed(add(r.ctx, ta, ta), dy);  // accumulates twice into one slot
    r.backward();
    expect_same_bits(db, dy, "db");
    expect_same_bits(da, sum_of(sum_of(dy, dy), dy), "da");
  }
}

// Both terms of a sum share the gradient of the sum. Adding to one term's gradient must not change that of
// the other, whichever op reads first.
TEST(Elementwise, GradientsThatShareMemoryStayApart) {
  constexpr int64_t N = 37;
  Random random(4);
  const auto x = random_normal(random, 3 * N), u = random_normal(random, 3 * N),
             dy = random_normal(random, 3 * N), dt = random_normal(random, 3 * N);
  for (const bool reads_first : {false, true}) {
    OpRun r;
    const Tensor tx = r.input({3, N}, x), tu = r.input({3, N}, u);
    std::vector<float> dx, du;
    r.want(tx, &dx);
    r.want(tu, &du);
    Tensor b, t;
    if (reads_first) t = slice_columns(r.ctx, tx, 0, N);
    b = slice_columns(r.ctx, tu, 0, N);
    if (!reads_first) t = slice_columns(r.ctx, tx, 0, N);
    r.seed(add(r.ctx, add(r.ctx, tx, b), tu), dy);
    r.seed(t, dt);
    r.backward();
    expect_same_bits(dx, sum_of(dy, dt), "dx");
    expect_same_bits(du, sum_of(dy, dy), "du");
  }
}

TEST(Elementwise, JoinsColumnsAndSplitsTheGradient) {
  constexpr int64_t T = 5;
  for (const int64_t M : kWidths) {
    for (const int64_t N : {int64_t{1}, int64_t{16}, int64_t{70}}) {
      Random random(static_cast<uint64_t>(M * 100 + N));
      const auto a = random_normal(random, T * M), b = random_normal(random, T * N),
                 dy = random_normal(random, T * (M + N));
      OpRun r;
      const Tensor ta = r.input({T, M}, a), tb = r.input({T, N}, b);
      std::vector<float> da, db, joined, want_da, want_db;
      r.want(ta, &da);
      r.want(tb, &db);
      for (int64_t t = 0; t < T; ++t) {
        const auto row = [t](const auto& from, int64_t width, int64_t first, int64_t count) {
          return std::span(from).subspan(static_cast<size_t>(t * width + first), static_cast<size_t>(count));
        };
        for (const float v : row(a, M, 0, M)) joined.push_back(v);
        for (const float v : row(b, N, 0, N)) joined.push_back(v);
        for (const float v : row(dy, M + N, 0, M)) want_da.push_back(v);
        for (const float v : row(dy, M + N, M, N)) want_db.push_back(v);
      }
      const Tensor y = join_columns(r.ctx, ta, tb);
      ASSERT_EQ(y.shape, Shape({T, M + N}));
      expect_same_bits(y.values(), joined, "y");
      r.seed(y, dy);
      r.seed(join_columns(r.ctx, ta, tb), dy);  // accumulates
      r.backward();
      expect_same_bits(da, sum_of(want_da, want_da), "da");
      expect_same_bits(db, sum_of(want_db, want_db), "db");
    }
  }
}

TEST(Elementwise, SlicesColumnsAndZeroesTheRestOfTheGradient) {
  for (const int64_t N : kWidths) {
    Random random(static_cast<uint64_t>(N));
    const int64_t T = 5, begin = N / 3, end = std::max<int64_t>(begin, N - N / 4), M = end - begin;
    const auto x = random_normal(random, T * N), dy = random_normal(random, T * M);
    OpRun r;
    const Tensor tx = r.input({T, N}, x);
    std::vector<float> dx;
    r.want(tx, &dx);
    const Tensor y = slice_columns(r.ctx, tx, begin, end);
    ASSERT_EQ(y.shape, Shape({T, M}));
    r.seed(y, dy);
    r.seed(slice_columns(r.ctx, tx, begin, end), dy);
    r.backward();
    std::vector<float> want_y, want_dx(x.size(), 0.0f);
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t n = 0; n < M; ++n) {
        want_y.push_back(x[static_cast<size_t>(t * N + begin + n)]);
        want_dx[static_cast<size_t>(t * N + begin + n)] = 2 * dy[static_cast<size_t>(t * M + n)];
      }
    }
    expect_same_bits(y.values(), want_y, "y");
    expect_same_bits(dx, want_dx, "dx");
  }
}

TEST(Elementwise, AddsInPlace) {
  for (const int64_t N : kWidths) {
    Random random(static_cast<uint64_t>(N));
    const auto x = random_normal(random, 7 * N), term = random_normal(random, 7 * N);
    expect_one_answer(
        [&](int threads) {
          OpRun r(false, threads);
          const Tensor tx = r.input({7, N}, x), other = r.input({7 * N}, term);
          add_in_place(r.ctx, tx, other);
          expect_same_bits(other.values(), term, "term");
          expect_same_bits(tx.values(), sum_of(x, term), "x");
          return to_vector(tx);
        },
        "sum in place");
  }
}

TEST(Elementwise, GathersRowsInAnyOrder) {
  for (const int64_t N : kWidths) {
    Random random(static_cast<uint64_t>(N));
    const std::vector<int32_t> indices = {4, 0, 4, 4, 2, 0, 5, 4};
    const auto x = random_normal(random, 6 * N);
    std::vector<float> want;
    for (const int32_t row : indices)
      append(want, std::span(x).subspan(static_cast<size_t>(row * N), static_cast<size_t>(N)));
    for (const int threads : {1, 3}) {
      OpRun r(false, threads);
      expect_same_bits(gather_rows(r.ctx, r.input({6, N}, x), indices).values(), want, "gather");
    }
  }
}

TEST(Elementwise, RefusesATapeForOpsWithoutABackward) {
  OpRun r;
  const Tensor x = r.input({2, 3}, std::vector<float>(6, 1.0f));
  const std::vector<int32_t> first = {0};
  EXPECT_THROW(gather_rows(r.ctx, x, first), BrokenInvariant);
  EXPECT_THROW(add_in_place(r.ctx, x, x), BrokenInvariant);
}

TEST(Elementwise, TakesNoRowsAndRefusesWrongShapes) {
  OpRun r;
  const Tensor none = r.input({0, 5}, {}), some = r.input({2, 3}, std::vector<float>(6, 1.0f));
  EXPECT_EQ(add(r.ctx, none, none).count(), 0);
  EXPECT_EQ(slice_columns(r.ctx, none, 1, 3).shape, Shape({0, 2}));
  EXPECT_EQ(slice_columns(r.ctx, some, 1, 1).shape, Shape({2, 0}));
  r.seed(slice_columns(r.ctx, none, 1, 3), {});
  r.backward();
  r.ctx.tape = nullptr;
  EXPECT_EQ(gather_rows(r.ctx, some, {}).shape, Shape({0, 3}));
  const std::vector<int32_t> beyond = {2}, negative = {-1};
  EXPECT_THROW(add(r.ctx, none, some), BrokenInvariant);
  EXPECT_THROW(slice_columns(r.ctx, some, 2, 4), BrokenInvariant);
  EXPECT_THROW(gather_rows(r.ctx, some, beyond), BrokenInvariant);
  EXPECT_THROW(gather_rows(r.ctx, some, negative), BrokenInvariant);
  EXPECT_THROW(add_in_place(r.ctx, none, some), BrokenInvariant);
}

TEST(Elementwise, LargeTensorsAreTheSameForAnyThreads) {
  Random random(1);
  const auto a = random_normal(random, 150 * 301), b = random_normal(random, 150 * 301);
  expect_one_answer(
      [&](int threads) {
        OpRun r(true, threads);
        const Tensor ta = r.input({150, 301}, a), tb = r.input({150, 301}, b);
        std::vector<float> da;
        r.want(ta, &da);
        const Tensor y = slice_columns(r.ctx, add(r.ctx, add(r.ctx, ta, tb), ta), 7, 300);
        std::vector<float> out = to_vector(y);
        r.seed(y, out);
        r.backward();
        append(out, da);
        return out;
      },
      "chain");
}

}  // namespace
}  // namespace r1::elementwise_test
