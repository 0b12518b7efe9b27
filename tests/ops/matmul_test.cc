// tests/ops/matmul_test.cc: gemm is one chain of FMAs per output for any tile; matmul and its gradients.
#include "ops/matmul/matmul.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "ops/matmul/gemm.h"
#include "tests/ops/test_util.h"

namespace r1::matmul_test {
namespace {

using namespace r1::test;

// Floats that end where readable memory ends. Reading one float too many faults, also in vector loads.
class Guarded {
 public:
  explicit Guarded(int64_t count) : count_(count) {
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t body = (static_cast<size_t>(count) * sizeof(float) + page - 1) / page * page;
    size_ = body + page;
    at_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    R1_CHECK(at_ != MAP_FAILED);
    ::mprotect(static_cast<char*>(at_) + body, page, PROT_NONE);
    data_ = reinterpret_cast<float*>(static_cast<char*>(at_) + body) - count;
    std::fill_n(data_, count, kNaN);
  }
  ~Guarded() { ::munmap(at_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  float* data() { return data_; }
  std::span<const float> values() const { return {data_, static_cast<size_t>(count_)}; }

 private:
  void* at_ = nullptr;
  size_t size_ = 0;
  float* data_ = nullptr;
  int64_t count_ = 0;
};

// Computes the product by its definition.
void gemm_by_definition(const Gemm& g) {
  for (int64_t m = 0; m < g.M; ++m)
    for (int64_t n = 0; n < g.N; ++n) {
      float c = g.accumulate ? g.c[m * g.c_row + n] : 0.0f;
      for (int64_t k = 0; k < g.K; ++k)
        c = std::fma(g.a[m * g.a_row + k * g.a_col], g.b[n / 32 * g.b_panel + k * g.b_row + n % 32], c);
      g.c[m * g.c_row + n] = c;
    }
}

enum class LayoutA { rows, wide_rows, columns, wide_columns, both };
enum class LayoutB { plain, view, packed };

// One product with its memory. Memory that must not be accessed is NaN (gaps) or unreadable (ends).
struct Case {
  Case(Random& random, int64_t M, int64_t N, int64_t K, LayoutA layout_a, LayoutB layout_b, bool accumulate)
      : a(extent(M, K, layout_a)),
        b(layout_b == LayoutB::packed ? (N + 31) / 32 * 32 * K
          : K == 0                    ? 0
                                      : (K - 1) * row_b(N, layout_b) + N),
        c(M == 0 ? 0 : (M - 1) * (N + 3) + N) {
    g.M = M, g.N = N, g.K = K;
    switch (layout_a) {
      case LayoutA::rows:
        g.a_row = K, g.a_col = 1;
        break;
      case LayoutA::wide_rows:
        g.a_row = K + 5, g.a_col = 1;
        break;
      case LayoutA::columns:
        g.a_row = 1, g.a_col = M;
        break;
      case LayoutA::wide_columns:
        g.a_row = 1, g.a_col = M + 7;
        break;
      case LayoutA::both:
        g.a_row = 2, g.a_col = 2 * M + 1;
        break;
    }
    for (int64_t m = 0; m < M; ++m)
      for (int64_t k = 0; k < K; ++k)
        a.data()[m * g.a_row + k * g.a_col] = static_cast<float>(random.normal());
    const bool packed = layout_b == LayoutB::packed;
    g.b_panel = packed ? K * 32 : 32;
    g.b_row = packed ? 32 : row_b(N, layout_b);
    for (int64_t k = 0; k < K; ++k)
      for (int64_t n = 0; n < (packed ? (N + 31) / 32 * 32 : N); ++n)
        b.data()[n / 32 * g.b_panel + k * g.b_row + n % 32] =
            n < N ? static_cast<float>(random.normal()) : 0.0f;
    g.c_row = N + 3;
    g.accumulate = accumulate;
    if (accumulate) {
      for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n) c.data()[m * g.c_row + n] = static_cast<float>(random.normal());
    }
    g.a = a.data(), g.b = b.data(), g.c = c.data();
    start.assign(c.values().begin(), c.values().end());
    gemm_by_definition(g);
    want.assign(c.values().begin(), c.values().end());
    reset();
    what = "M " + std::to_string(M) + " N " + std::to_string(N) + " K " + std::to_string(K) + " A layout " +
           std::to_string(static_cast<int>(layout_a)) + " B layout " +
           std::to_string(static_cast<int>(layout_b)) + (accumulate ? " accumulate" : "");
  }
  static int64_t row_b(int64_t N, LayoutB layout) { return layout == LayoutB::view ? N + 9 : N; }
  static int64_t extent(int64_t M, int64_t K, LayoutA layout) {
    if (M == 0 || K == 0) return 0;
    switch (layout) {
      case LayoutA::rows:
        return M * K;
      case LayoutA::wide_rows:
        return (M - 1) * (K + 5) + K;
      case LayoutA::columns:
        return M * K;
      case LayoutA::wide_columns:
        return (K - 1) * (M + 7) + M;
      case LayoutA::both:
        return (M - 1) * 2 + (K - 1) * (2 * M + 1) + 1;
    }
    return 0;
  }
  void reset() { std::copy(start.begin(), start.end(), c.data()); }
  void expect(const std::string& how) { expect_same_bits(c.values(), want, what + ", " + how); }

  Guarded a, b, c;
  Gemm g;
  std::vector<float> start, want;
  std::string what;
};

void run_every_way(Case& test) {
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    test.reset();
    gemm(pool, test.g);
    test.expect("gemm, " + std::to_string(threads) + " threads");
    test.reset();
    gemm_batch(pool, {&test.g, 1});
    test.expect("gemm_batch, " + std::to_string(threads) + " threads");
  }
  test.reset();
  gemm_serial(test.g);
  test.expect("gemm_serial");
}

TEST(Gemm, IsOneChainOfFmasInOrderOnAnyShape) {
  Random random(11);
  const int64_t edges[] = {1,  2,  3,  5,  6,  7,  8,  11, 12, 13, 15, 16,
                           17, 31, 32, 33, 63, 64, 65, 95, 96, 97, 129};
  auto pick = [&](int64_t limit) {
    for (;;) {
      const int64_t n =
          random.below(2) == 0 ? edges[random.below(std::ssize(edges))] : random.between(1, limit);
      if (n <= limit) return n;
    }
  };
  for (int i = 0; i < 150; ++i) {
    const int64_t M = pick(300), N = pick(300), K = pick(M * N > 20000 ? 100 : 300);
    Case test(random, M, N, K, static_cast<LayoutA>(random.below(5)), static_cast<LayoutB>(random.below(3)),
              random.below(2) == 0);
    SCOPED_TRACE(test.what);
    run_every_way(test);
    if (WithoutAvx512::machine_has_it()) {
      const WithoutAvx512 guard;
      run_every_way(test);
    }
    if (HasFailure()) break;
  }
}

TEST(Gemm, EveryHeightAndWidthOfATileAgreesWithTheDefinition) {
  Random random(12);
  for (int64_t M = 1; M <= 26; ++M)
    for (const int64_t N : {1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 64, 80, 96, 128, 144})
      for (const LayoutA a : {LayoutA::rows, LayoutA::wide_columns}) {
        Case test(random, M, N, 1 + (M * N) % 19, a, N % 2 == 0 ? LayoutB::packed : LayoutB::plain,
                  M % 2 == 0);
        test.reset();
        gemm_serial(test.g);
        test.expect("gemm_serial");
        if (WithoutAvx512::machine_has_it()) {
          const WithoutAvx512 guard;
          test.reset();
          gemm_serial(test.g);
          test.expect("gemm_serial, AVX2");
        }
      }
}

TEST(Gemm, GoesOnOverTheBlocksOfALongK) {
  Random random(13);
  for (const int64_t K : {255, 256, 257, 512, 1025})
    for (const LayoutA a : {LayoutA::rows, LayoutA::columns, LayoutA::both})
      for (const LayoutB b : {LayoutB::plain, LayoutB::packed}) {
        Case test(random, 40, 45, K, a, b, K % 2 == 0);
        run_every_way(test);
        Case few(random, 3, 140, K, a, b, K % 2 == 0);
        run_every_way(few);
      }
  // Rows are 2 KiB apart, for which A is copied.
  for (const bool accumulate : {false, true}) {
    Case test(random, 50, 100, 512, LayoutA::rows, LayoutB::plain, accumulate);
    run_every_way(test);
  }
}

TEST(Gemm, NothingToSumIsZeroOrLeavesCAsItWas) {
  Random random(14);
  for (const int64_t M : {0, 1, 5, 30})
    for (const int64_t N : {1, 32, 70})
      for (const bool accumulate : {false, true}) {
        Case test(random, M, N, 0, LayoutA::rows, LayoutB::plain, accumulate);
        run_every_way(test);
      }
}

TEST(Gemm, ABatchIsItsProductsOneByOne) {
  Random random(15);
  std::vector<std::unique_ptr<Case>> cases;
  std::vector<Gemm> list;
  for (int i = 0; i < 600; ++i) {
    cases.push_back(std::make_unique<Case>(random, random.between(0, 40), random.between(1, 70),
                                           random.between(0, 40), static_cast<LayoutA>(random.below(5)),
                                           static_cast<LayoutB>(random.below(3)), random.below(2) == 0));
    list.push_back(cases.back()->g);
  }
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    for (auto& test : cases) test->reset();
    gemm_batch(pool, list);
    for (auto& test : cases) test->expect("in a batch, " + std::to_string(threads) + " threads");
    gemm_batch(pool, {});
  }
}

// ---- matmul

struct Problem {
  Problem(uint64_t seed, int64_t T_, int64_t N_, int64_t K_) : T(T_), N(N_), K(K_) {
    Random random(seed);
    x = random_normal(random, T * K);
    w = random_normal(random, N * K);
    bias = random_normal(random, N);
    dy = random_normal(random, T * N);
  }
  int64_t T, N, K;
  std::vector<float> x, w, bias, dy;
};

struct Result {
  std::vector<float> y, dx, dw, dbias;
  std::vector<float> all() const {
    std::vector<float> out = y;
    append(out, dx);
    append(out, dw);
    append(out, dbias);
    return out;
  }
};

// Gradients of the parameters start from `held`.
Result run(const Problem& p, int threads, float held = 0.0f) {
  OpRun op(true, threads);
  OwnedParameter w({p.N, p.K}, p.w, true, held), bias({p.N}, p.bias, true, held);
  const Weight weight(&w.p, &bias.p);
  const Tensor x = op.input({p.T, p.K}, p.x);
  Result r;
  op.want(x, &r.dx);
  const Tensor y = matmul(op.ctx, x, weight);
  r.y = to_vector(y);
  op.seed(y, p.dy);
  op.backward();
  r.dw = to_vector(w.p.grad);
  r.dbias = to_vector(bias.p.grad);
  return r;
}

// Bounds |error| of a chain of n FMAs of unit normals: n steps of half an ulp of a partial sum of size up to
// sqrt(n), with room for the worst of many elements.
double tolerance(int64_t n) {
  return 8 * kEps * (std::sqrt(static_cast<double>(n)) + 1) * std::sqrt(static_cast<double>(n) + 4);
}

TEST(Matmul, MatchesReferenceOnRaggedShapes) {
  Random random(21);
  for (int i = 0; i < 40; ++i) {
    const Problem p(100 + static_cast<uint64_t>(i), random.between(1, 130), random.between(1, 150),
                    random.between(1, 150));
    const Result got = run(p, 2);
    std::vector<double> y(p.dy.size()), dx(p.x.size()), dw(p.w.size()), dbias(p.bias.size());
    ref::matmul(p.x.data(), p.w.data(), p.bias.data(), p.T, p.N, p.K, y.data());
    ref::matmul_backward(p.x.data(), p.w.data(), p.dy.data(), p.T, p.N, p.K, dx.data(), dw.data(),
                         dbias.data());
    const std::string shape =
        " at T " + std::to_string(p.T) + " N " + std::to_string(p.N) + " K " + std::to_string(p.K);
    expect_near(got.y, y, tolerance(p.K), "y" + shape);
    expect_near(got.dx, dx, tolerance(p.N), "dx" + shape);
    expect_near(got.dw, dw, tolerance(p.T), "dW" + shape);
    expect_near(got.dbias, dbias, tolerance(p.T), "dbias" + shape);
  }
}

TEST(Matmul, ReferenceGradientsAreTheDerivatives) {
  const Problem p(31, 5, 4, 7);
  std::vector<double> dx(p.x.size()), dw(p.w.size()), dbias(p.bias.size());
  ref::matmul_backward(p.x.data(), p.w.data(), p.dy.data(), p.T, p.N, p.K, dx.data(), dw.data(),
                       dbias.data());
  auto loss = [&](const std::vector<float>& x, const std::vector<float>& w, const std::vector<float>& bias) {
    std::vector<double> y(p.dy.size());
    ref::matmul(x.data(), w.data(), bias.data(), p.T, p.N, p.K, y.data());
    return dot(y, p.dy);
  };
  const auto by_x = central_differences(p.x, [&](const auto& x) { return loss(x, p.w, p.bias); });
  const auto by_w = central_differences(p.w, [&](const auto& w) { return loss(p.x, w, p.bias); });
  const auto by_bias = central_differences(p.bias, [&](const auto& bias) { return loss(p.x, p.w, bias); });
  expect_near_double(dx, by_x, 1e-9, 1e-9, "dx");
  expect_near_double(dw, by_w, 1e-9, 1e-9, "dW");
  expect_near_double(dbias, by_bias, 1e-9, 1e-9, "dbias");
}

TEST(Matmul, BitsDoNotDependOnThreadsOrInstructionSet) {
  for (const auto& [T, N, K] : {std::array<int64_t, 3>{1, 200, 65}, {16, 70, 130}, {333, 129, 96}}) {
    const Problem p(41, T, N, K);
    expect_one_answer([&](int threads) { return run(p, threads, 0.5f).all(); },
                      "T " + std::to_string(T) + " N " + std::to_string(N) + " K " + std::to_string(K));
  }
}

// Threads may share a weight once it is packed. Packing it on one of several threads is refused.
TEST(Matmul, OneThreadOfSeveralDoesNotPack) {
  Random random(8);
  OwnedParameter parameter({8, 8}, random_normal(random, 64));
  const Weight weight(&parameter.p);
  OpRun run(false, 2);
  const auto refusals = [&] {
    std::array<bool, 2> refused{};
    run.threads.parallel_for(2, 1, [&](int64_t begin, int64_t) {
      try {
        Gemm g;
        weight.fill_b(run.ctx, g);
      } catch (const std::exception&) {
        refused[static_cast<size_t>(begin)] = true;
      }
    });
    return refused[0] && refused[1] ? 2 : refused[0] || refused[1] ? 1 : 0;
  };
  EXPECT_EQ(refusals(), 2);
  weight.prepare(run.ctx);
  EXPECT_EQ(refusals(), 0);
  ++parameter.p.version;
  EXPECT_EQ(refusals(), 2);
}

TEST(Matmul, ATokenAloneIsTheTokenInTheBatch) {
  const Problem p(51, 201, 77, 129);
  const Result whole = run(p, 2);
  for (int64_t t = 0; t < p.T; t += 25) {
    Problem one = p;
    one.T = 1;
    one.x.assign(p.x.begin() + t * p.K, p.x.begin() + (t + 1) * p.K);
    one.dy.assign(p.dy.begin() + t * p.N, p.dy.begin() + (t + 1) * p.N);
    const Result alone = run(one, 2);
    expect_same_bits(alone.y,
                     std::span(whole.y).subspan(static_cast<size_t>(t * p.N), static_cast<size_t>(p.N)),
                     "y of token " + std::to_string(t));
    expect_same_bits(alone.dx,
                     std::span(whole.dx).subspan(static_cast<size_t>(t * p.K), static_cast<size_t>(p.K)),
                     "dx of token " + std::to_string(t));
  }
}

TEST(Matmul, ABatchCutInTwoGivesTheSameGradients) {
  const Problem p(61, 150, 45, 70);
  const Result whole = run(p, 2, 0.25f);
  for (const int64_t at : {1, 64, 149}) {
    OwnedParameter w({p.N, p.K}, p.w, true, 0.25f), bias({p.N}, p.bias, true, 0.25f);
    const Weight weight(&w.p, &bias.p);
    std::vector<float> y, dx;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, at}, {at, p.T}}) {
      OpRun op;
      const Tensor x = op.input(
          {end - begin, p.K},
          std::span(p.x).subspan(static_cast<size_t>(begin * p.K), static_cast<size_t>((end - begin) * p.K)));
      std::vector<float> piece;
      op.want(x, &piece);
      const Tensor out = matmul(op.ctx, x, weight);
      append(y, to_vector(out));
      op.seed(out, std::span(p.dy).subspan(static_cast<size_t>(begin * p.N),
                                           static_cast<size_t>((end - begin) * p.N)));
      op.backward();
      append(dx, piece);
    }
    expect_same_bits(y, whole.y, "y");
    expect_same_bits(dx, whole.dx, "dx");
    expect_same_bits(to_vector(w.p.grad), whole.dw, "dW");
    expect_same_bits(to_vector(bias.p.grad), whole.dbias, "dbias");
  }
}

TEST(Matmul, PacksAgainOnlyWhenTheVersionMoved) {
  const Problem p(71, 3, 40, 33);
  OpRun op(false);
  OwnedParameter w({p.N, p.K}, p.w);
  const Weight weight(&w.p);
  const auto panels = [&] {
    Gemm g;
    weight.fill_b(op.ctx, g);
    return g.b;
  };
  const float* first = panels();
  const Tensor before = matmul(op.ctx, op.input({p.T, p.K}, p.x), weight);
  for (float& v : w.p.value.values()) v *= 2;
  expect_same_bits(to_vector(matmul(op.ctx, op.input({p.T, p.K}, p.x), weight)), to_vector(before),
                   "the old version");
  ++w.p.version;
  std::vector<float> twice = to_vector(before);
  for (float& v : twice) v *= 2;
  expect_same_bits(to_vector(matmul(op.ctx, op.input({p.T, p.K}, p.x), weight)), twice, "the new version");
  EXPECT_EQ(panels(), first) << "the panels were allocated again";
}

TEST(Matmul, ConstantsAndFrozenWeightsGetNoGradient) {
  const Problem p(72, 6, 9, 10);
  OpRun op;
  OwnedParameter w({p.N, p.K}, p.w, false);
  const Weight weight(&w.p);
  Tensor x = op.input({p.T, p.K}, p.x);
  x.node = -1;
  const Tensor y = matmul(op.ctx, x, weight);
  op.seed(y, p.dy);
  op.backward();  // nothing to do, and nothing breaks
  EXPECT_FALSE(w.p.grad);
}

TEST(Matmul, AnInputUsedTwiceGetsBothGradients) {
  const Problem p(73, 20, 33, 17);
  OpRun op;
  OwnedParameter w({p.N, p.K}, p.w);
  const Weight weight(&w.p);
  const Tensor x = op.input({p.T, p.K}, p.x);
  std::vector<float> dx;
  op.want(x, &dx);
  const Tensor y1 = matmul(op.ctx, x, weight), y2 = matmul(op.ctx, x, weight);
  op.seed(y1, p.dy);
  op.seed(y2, p.dy);
  op.backward();
  std::vector<double> want(p.x.size());
  ref::matmul_backward(p.x.data(), p.w.data(), p.dy.data(), p.T, p.N, p.K, want.data(), nullptr, nullptr);
  for (double& v : want) v *= 2;
  expect_near(dx, want, 2 * tolerance(2 * p.N), "dx");
}

TEST(Matmul, NoTokensIsNoWorkAndWrongWidthsAreRefused) {
  OpRun op;
  Random random(74);
  OwnedParameter w({4, 3}, random_normal(random, 12), true, 1.0f);
  const Weight weight(&w.p);
  const Tensor x = op.input({0, 3}, {});
  const Tensor y = matmul(op.ctx, x, weight);
  EXPECT_EQ(y.shape, Shape({0, 4}));
  op.tape.slot(y);
  op.backward();
  for (const float g : w.p.grad.values()) EXPECT_EQ(g, 1.0f);
  EXPECT_THROW(matmul(op.ctx, op.ctx.output({2, 5}), weight), BrokenInvariant);
}

}  // namespace
}  // namespace r1::matmul_test
