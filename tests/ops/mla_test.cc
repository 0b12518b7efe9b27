// tests/ops/mla_test.cc: the two per-head products of latent attention, their gradients, and their bits.
#include "ops/mla/mla.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ops/elementwise/elementwise.h"
#include "tests/ops/test_util.h"

namespace r1::mla_test {
namespace {

using namespace r1::test;

struct Sizes {
  int64_t T, H, n, v, R, P;
  std::string str() const {
    return "T " + std::to_string(T) + " H " + std::to_string(H) + " n " + std::to_string(n) + " v " +
           std::to_string(v) + " R " + std::to_string(R) + " P " + std::to_string(P);
  }
};

struct Problem : Sizes {
  Problem(uint64_t seed, const Sizes& s) : Sizes(s) {
    Random random(seed);
    kv_b = random_normal(random, H * (n + v) * R);
    q = random_normal(random, T * H * (n + P));
    o = random_normal(random, T * H * R);
    dq_out = random_normal(random, T * H * (R + P));
    do_out = random_normal(random, T * H * v);
  }
  std::vector<float> kv_b, q, o, dq_out, do_out;
};

struct Result {
  std::vector<float> absorbed, expanded, dq, d_o, dkv_b;
  std::vector<float> all() const {
    std::vector<float> out = absorbed;
    for (const auto* part : {&expanded, &dq, &d_o, &dkv_b}) append(out, *part);
    return out;
  }
};

// Returns a table with which nothing is rotated, as at position 0.
RopeTable still_table(int64_t P) {
  return {std::vector<float>(static_cast<size_t>(P / 2), 1.0f), 1.0f, 64};
}

// Runs tokens [begin, end) of the problem and adds to kv_b's gradient.
Result run_tokens(const Problem& p, const LatentWeight& weight, int threads, int64_t begin, int64_t end) {
  auto tokens = [&](const std::vector<float>& all, int64_t width) {
    return std::span(all).subspan(static_cast<size_t>(begin * width),
                                  static_cast<size_t>((end - begin) * width));
  };
  OpRun op(true, threads);
  const int64_t T = end - begin;
  Result r;
  const Tensor q = op.input({T, p.H, p.n + p.P}, tokens(p.q, p.H * (p.n + p.P)));
  const Tensor o = op.input({T, p.H, p.R}, tokens(p.o, p.H * p.R));
  op.want(q, &r.dq);
  op.want(o, &r.d_o);
  const RopeTable table = still_table(p.P);
  const std::vector<int32_t> positions(static_cast<size_t>(T), 0);
  const Tensor absorbed = absorb_query(op.ctx, q, weight, {positions, &table});
  const Tensor expanded = expand_value(op.ctx, o, weight);
  r.absorbed = to_vector(absorbed);
  r.expanded = to_vector(expanded);
  op.seed(absorbed, tokens(p.dq_out, p.H * (p.R + p.P)));
  op.seed(expanded, tokens(p.do_out, p.H * p.v));
  op.backward();
  return r;
}

Result run(const Problem& p, int threads, float held = 0.0f) {
  OwnedParameter kv_b({p.H * (p.n + p.v), p.R}, p.kv_b, true, held);
  const LatentWeight weight(&kv_b.p, p.H, p.n, p.v);
  Result r = run_tokens(p, weight, threads, 0, p.T);
  r.dkv_b = to_vector(kv_b.p.grad);
  return r;
}

// Returns the sum of both outputs weighted by the seeds, in double. It is the loss whose gradients run()
// computes.
double loss(const Problem& p, const std::vector<float>& q, const std::vector<float>& o,
            const std::vector<float>& kv_b) {
  std::vector<double> absorbed(p.dq_out.size()), expanded(p.do_out.size());
  ref::absorb_query(q.data(), kv_b.data(), p.T, p.H, p.n, p.v, p.R, p.P, absorbed.data());
  ref::expand_value(o.data(), kv_b.data(), p.T, p.H, p.n, p.v, p.R, expanded.data());
  return dot(absorbed, p.dq_out) + dot(expanded, p.do_out);
}

double tolerance(int64_t n) {
  return 8 * kEps * (std::sqrt(static_cast<double>(n)) + 1) * std::sqrt(static_cast<double>(n) + 4);
}

const Sizes kSizes[] = {{1, 4, 32, 32, 64, 16}, {70, 4, 32, 32, 64, 16}, {13, 3, 7, 5, 9, 2},
                        {5, 1, 1, 33, 31, 0},   {33, 2, 40, 17, 80, 6},  {100, 5, 16, 48, 33, 8}};

TEST(Mla, MatchesReferenceOnRaggedShapes) {
  for (const Sizes& sizes : kSizes) {
    const Problem p(7, sizes);
    const Result got = run(p, 2);
    std::vector<double> absorbed(p.dq_out.size()), expanded(p.do_out.size());
    ref::absorb_query(p.q.data(), p.kv_b.data(), p.T, p.H, p.n, p.v, p.R, p.P, absorbed.data());
    ref::expand_value(p.o.data(), p.kv_b.data(), p.T, p.H, p.n, p.v, p.R, expanded.data());
    expect_near(got.absorbed, absorbed, tolerance(p.n), "absorb_query, " + p.str());
    expect_near(got.expanded, expanded, tolerance(p.R), "expand_value, " + p.str());
  }
}

TEST(Mla, GradientsAreTheDerivativesOfTheReference) {
  for (const Sizes& sizes : {Sizes{3, 2, 4, 3, 5, 2}, Sizes{2, 1, 1, 1, 1, 0}, Sizes{9, 2, 33, 2, 3, 2}}) {
    const Problem p(8, sizes);
    const Result got = run(p, 2);
    // The loss is linear in each argument, so the differences are exact except for rounding in double.
    expect_near(got.dq, central_differences(p.q, [&](const auto& q) { return loss(p, q, p.o, p.kv_b); }),
                tolerance(p.R) + 1e-8, "dq, " + p.str());
    expect_near(got.d_o, central_differences(p.o, [&](const auto& o) { return loss(p, p.q, o, p.kv_b); }),
                tolerance(p.v) + 1e-8, "do, " + p.str());
    expect_near(got.dkv_b, central_differences(p.kv_b, [&](const auto& w) { return loss(p, p.q, p.o, w); }),
                tolerance(p.T) + 1e-8, "dkv_b, " + p.str());
  }
}

// Returns the first `width` columns of rows that are `row` wide.
std::vector<float> columns(const std::vector<float>& x, int64_t row, int64_t width) {
  std::vector<float> out;
  for (size_t at = 0; at < x.size(); at += static_cast<size_t>(row))
    append(out, std::span(x).subspan(at, static_cast<size_t>(width)));
  return out;
}

// Compares with rope alone, then checks the columns that are not rotated.
TEST(Mla, TurnsAsRopeDoes) {
  for (const Sizes& sizes : kSizes) {
    for (const RopeStyle style : {RopeStyle::interleaved, RopeStyle::half}) {
      const Problem p(11, sizes);
      const int64_t row = p.R + p.P;
      Random random(12);
      const auto c = random_normal(random, p.T * p.R), compressed = random_normal(random, p.T * row),
                 dkey = random_normal(random, p.T * row);
      const RopeTable table = still_table(p.P);
      std::vector<int32_t> positions, still(static_cast<size_t>(p.T), 0);
      for (int64_t t = 0; t < p.T; ++t) positions.push_back(static_cast<int32_t>(t * 7 % 64));
      const auto run = [&](bool apart) {
        OwnedParameter kv_b({p.H * (p.n + p.v), p.R}, p.kv_b);
        const LatentWeight weight(&kv_b.p, p.H, p.n, p.v);
        OpRun op;
        const Tensor q = op.input({p.T, p.H, p.n + p.P}, p.q), tc = op.input({p.T, p.R}, c),
                     both = op.input({p.T, row}, compressed);
        std::vector<float> dq, dc, dboth;
        op.want(q, &dq);
        op.want(tc, &dc);
        op.want(both, &dboth);
        Tensor absorbed;
        std::vector<float> key;
        if (apart) {
          absorbed =
              absorb_query(op.ctx, rope(op.ctx, q, positions, table, style), weight, {still, &table, style});
          const Tensor rotary = slice_columns(op.ctx, both, p.R, row).reshaped(Shape{p.T, 1, p.P});
          const Tensor turned = rope(op.ctx, rotary, positions, table, style);
          std::vector<float> dturned;
          for (int64_t t = 0; t < p.T; ++t) {
            append(key, std::span(c).subspan(static_cast<size_t>(t * p.R), static_cast<size_t>(p.R)));
            append(key, turned.values().subspan(static_cast<size_t>(t * p.P), static_cast<size_t>(p.P)));
            append(dturned,
                   std::span(dkey).subspan(static_cast<size_t>(t * row + p.R), static_cast<size_t>(p.P)));
          }
          op.seed(turned, dturned);
          op.seed(slice_columns(op.ctx, tc, 0, p.R), columns(dkey, row, p.R));
        } else {
          const Rotary rotary{positions, &table, style};
          absorbed = absorb_query(op.ctx, q, weight, rotary);
          const Tensor made = latent_key(op.ctx, tc, both, rotary);
          key = to_vector(made);
          op.seed(made, dkey);
        }
        std::vector<float> out = to_vector(absorbed);
        append(out, key);
        op.seed(absorbed, p.dq_out);
        op.backward();
        for (const auto* part : {&dq, &dc, &dboth}) append(out, *part);
        append(out, to_vector(kv_b.p.grad));
        return out;
      };
      EXPECT_EQ(run(false), run(true)) << p.str();
    }
  }
}

TEST(Mla, KeyGradientsAddToWhatIsThere) {
  const int64_t T = 5, R = 9, P = 4;
  Random random(13);
  const auto c = random_normal(random, T * R), compressed = random_normal(random, T * (R + P)),
             dkey = random_normal(random, T * (R + P));
  const RopeTable table = still_table(P);
  const std::vector<int32_t> positions{3, 1, 4, 1, 5};
  const auto run = [&](int times) {
    OpRun op;
    const Tensor tc = op.input({T, R}, c), both = op.input({T, R + P}, compressed);
    std::vector<float> dc, dboth;
    op.want(tc, &dc);
    op.want(both, &dboth);
    for (int i = 0; i < times; ++i) op.seed(latent_key(op.ctx, tc, both, {positions, &table}), dkey);
    op.backward();
    append(dc, dboth);
    return dc;
  };
  std::vector<float> twice = run(1);
  for (float& x : twice) x += x;
  EXPECT_EQ(run(2), twice);
}

TEST(Mla, BitsDoNotDependOnThreadsOrInstructionSet) {
  for (const Sizes& sizes : kSizes) {
    const Problem p(9, sizes);
    expect_one_answer([&](int threads) { return run(p, threads, 0.5f).all(); }, p.str());
  }
}

TEST(Mla, ATokenAloneIsTheTokenInTheBatch) {
  const Problem p(10, {70, 4, 32, 32, 64, 16});
  const Result whole = run(p, 2);
  OwnedParameter kv_b({p.H * (p.n + p.v), p.R}, p.kv_b);
  const LatentWeight weight(&kv_b.p, p.H, p.n, p.v);
  auto token = [](const std::vector<float>& all, int64_t t, size_t width) {
    return std::span(all).subspan(static_cast<size_t>(t) * width, width);
  };
  for (int64_t t = 0; t < p.T; t += 23) {
    const Result alone = run_tokens(p, weight, 2, t, t + 1);
    expect_same_bits(alone.absorbed, token(whole.absorbed, t, alone.absorbed.size()), "absorb_query");
    expect_same_bits(alone.expanded, token(whole.expanded, t, alone.expanded.size()), "expand_value");
    expect_same_bits(alone.dq, token(whole.dq, t, alone.dq.size()), "dq");
    expect_same_bits(alone.d_o, token(whole.d_o, t, alone.d_o.size()), "do");
  }
}

TEST(Mla, ABatchCutInTwoGivesTheSameGradients) {
  const Problem p(11, {57, 3, 24, 40, 48, 8});
  const Result whole = run(p, 2, 0.25f);
  for (const int64_t at : {1, 29, 56}) {
    OwnedParameter kv_b({p.H * (p.n + p.v), p.R}, p.kv_b, true, 0.25f);
    const LatentWeight weight(&kv_b.p, p.H, p.n, p.v);
    Result r = run_tokens(p, weight, 2, 0, at);
    const Result second = run_tokens(p, weight, 2, at, p.T);
    append(r.absorbed, second.absorbed);
    append(r.expanded, second.expanded);
    append(r.dq, second.dq);
    append(r.d_o, second.d_o);
    r.dkv_b = to_vector(kv_b.p.grad);
    expect_same_bits(r.all(), whole.all(), "cut at " + std::to_string(at));
  }
}

TEST(Mla, ValuePanelsFollowTheVersion) {
  const Problem p(12, {4, 2, 5, 37, 11, 3});
  OpRun op(false);
  OwnedParameter kv_b({p.H * (p.n + p.v), p.R}, p.kv_b);
  const LatentWeight weight(&kv_b.p, p.H, p.n, p.v);
  const Tensor o = op.input({p.T, p.H, p.R}, p.o);
  std::vector<float> twice = to_vector(expand_value(op.ctx, o, weight));
  for (float& v : twice) v *= 2;
  for (float& v : kv_b.p.value.values()) v *= 2;
  const float* panels = weight.value_panels(op.ctx);
  ++kv_b.p.version;
  expect_same_bits(to_vector(expand_value(op.ctx, o, weight)), twice, "the new version");
  EXPECT_EQ(weight.value_panels(op.ctx), panels) << "the panels were allocated again";
}

TEST(Mla, NoTokensIsNoWork) {
  const Problem p(13, {0, 2, 5, 3, 4, 2});
  const Result r = run(p, 2, 1.0f);
  EXPECT_TRUE(r.absorbed.empty());
  for (const float g : r.dkv_b) EXPECT_EQ(g, 1.0f);
}

}  // namespace
}  // namespace r1::mla_test
