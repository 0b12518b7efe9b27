// Token log-probs compared with the double reference, the reference compared with finite differences,
// log-probs compared with the sampler's, and their bits.
#include "ops/loss/loss.h"

#include "ops/sample/sample.h"
#include "tests/ops/test_util.h"

namespace r1::loss_test {
namespace {
using namespace test;

struct Case {
  Case(int64_t t, int64_t d, int64_t v, float temp, uint64_t seed = 1) : T(t), D(d), V(v), temperature(temp) {
    Random random(seed);
    h = random_normal(random, T * D);
    w = random_normal(random, V * D, 2.0 / std::sqrt(static_cast<double>(D)));
    g = random_normal(random, T);
    for (int64_t i = 0; i < T; ++i) targets.push_back(static_cast<int32_t>(random.below(V)));
  }
  int64_t T, D, V;
  float temperature;
  std::vector<float> h, w, g;
  std::vector<int32_t> targets;
};

struct Result {
  std::vector<float> logprobs, entropy, dh;
};

// Adds to w.grad. `after_forward` may overwrite memory that the backward must not read.
template <class After>
Result run(const Case& c, Weight& head, int threads, const After& after_forward, bool twice = false) {
  OpRun r(true, threads);
  const Tensor h = r.input({c.T, c.D}, c.h);
  Result out;
  const Tensor entropy = r.arena.tensor({c.T});
  std::ranges::fill(entropy.values(), kNaN);
  r.want(h, &out.dh);
  const Tensor logprobs = token_log_probs(r.ctx, h, head, c.targets, c.temperature, entropy);
  out.logprobs = to_vector(logprobs);
  out.entropy = to_vector(entropy);
  r.seed(logprobs, c.g);
  if (twice) r.seed(token_log_probs(r.ctx, h, head, c.targets, c.temperature), c.g);
  after_forward(h);
  r.backward();
  return out;
}
Result run(const Case& c, Weight& head, int threads = 2) {
  return run(c, head, threads, [](const Tensor&) {});
}

std::vector<float> run_all(const Case& c, int threads, bool twice = false) {
  OwnedParameter w({c.V, c.D}, c.w, true, 0.125f);
  Weight head(&w.p);
  Result r = run(
      c, head, threads, [](const Tensor&) {}, twice);
  append(r.logprobs, r.entropy);
  append(r.logprobs, r.dh);
  append(r.logprobs, w.p.grad.values());
  return r.logprobs;
}

TEST(TokenLogProbs, MatchReferenceOnRaggedShapes) {
  for (const auto& [T, D, V] : {std::array<int64_t, 3>{1, 1, 1},
                                {3, 5, 2},
                                {7, 16, 17},
                                {9, 33, 63},
                                {5, 64, 400},
                                {33, 31, 257},
                                {2, 100, 1}}) {
    for (const float temperature : {1.0f, 0.7f}) {
      Case c(T, D, V, temperature, static_cast<uint64_t>(T + V));
      if (T > 2) {
        c.targets[1] = -1;
        for (int64_t d = 0; d < D; ++d) c.h[static_cast<size_t>(D + d)] = kNaN;  // skipped, so never read
      }
      OwnedParameter w({V, D}, c.w);
      Weight head(&w.p);
      const Result got = run(c, head);
      const size_t t_size = static_cast<size_t>(T);
      std::vector<double> logprobs(t_size), entropy(t_size), dh(c.h.size()), dw(c.w.size());
      ref::token_log_probs(c.h.data(), c.w.data(), c.targets.data(), T, D, V, temperature, logprobs.data(),
                           entropy.data());
      ref::token_log_probs_backward(c.h.data(), c.w.data(), c.targets.data(), c.g.data(), T, D, V,
                                    temperature, dh.data(), dw.data());
      const std::string what = Shape({T, D, V}).str();
      // Logits are below about 20 and have the error of D roundings (random walk: sqrt(D)), which exp turns
      // into a relative error of every probability.
      const double logit_error = kEps * 20 * (8 + std::sqrt(static_cast<double>(D))) / temperature;
      expect_near(got.logprobs, logprobs, 2 * logit_error, what + " logprobs");
      expect_near(got.entropy, entropy, 8 * logit_error, what + " entropy");
      const double dz_error = 4 * logit_error / temperature;
      expect_near(got.dh, dh, dz_error * 4 * 4, what + " dh");
      expect_near(w.p.grad.values(), dw, dz_error * 4 * 4 * std::sqrt(static_cast<double>(T)), what + " dw");
    }
  }
}

TEST(TokenLogProbs, ReferenceGradientsMatchDifferences) {
  Case c(3, 4, 6, 0.7f);
  c.targets[1] = -1;
  const auto loss = [&](std::span<const float> h, std::span<const float> w) {
    std::vector<double> logprobs(3);
    ref::token_log_probs(h.data(), w.data(), c.targets.data(), c.T, c.D, c.V, c.temperature, logprobs.data(),
                         nullptr);
    return dot(logprobs, c.g);
  };
  std::vector<double> dh(c.h.size()), dw(c.w.size());
  ref::token_log_probs_backward(c.h.data(), c.w.data(), c.targets.data(), c.g.data(), c.T, c.D, c.V,
                                c.temperature, dh.data(), dw.data());
  expect_near_double(dh, central_differences(c.h, [&](const auto& h) { return loss(h, c.w); }), 1e-4, 1e-4,
                     "dh");
  expect_near_double(dw, central_differences(c.w, [&](const auto& w) { return loss(c.h, w); }), 1e-4, 1e-4,
                     "dw");
}

TEST(TokenLogProbs, SameBitsForThreadsAndInstructionSets) {
  const Case c(67, 48, 333, 0.9f);
  expect_one_answer([&](int threads) { return run_all(c, threads); }, "loss");
  expect_one_answer([&](int threads) { return run_all(c, threads, true); }, "loss twice");
}

// Runs one token per call, in order. Log-probs, entropies, dh and the accumulated dW must equal those of one
// large call.
void expect_pieces_equal_whole(const Case& c, std::span<const int64_t> cuts) {
  OwnedParameter whole_w({c.V, c.D}, c.w, true, 0.125f), w({c.V, c.D}, c.w, true, 0.125f);
  Weight whole_head(&whole_w.p), head(&w.p);
  const Result whole = run(c, whole_head);
  Result joined;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    Case piece = c;
    piece.T = cuts[i + 1] - cuts[i];
    const auto cut = [&](auto& to, const auto& from, int64_t width) {
      to.assign(from.begin() + cuts[i] * width, from.begin() + cuts[i + 1] * width);
    };
    cut(piece.h, c.h, c.D);
    cut(piece.g, c.g, 1);
    cut(piece.targets, c.targets, 1);
    const Result got = run(piece, head, 1 + static_cast<int>(i % 2));
    append(joined.logprobs, got.logprobs);
    append(joined.entropy, got.entropy);
    append(joined.dh, got.dh);
  }
  expect_same_bits(joined.logprobs, whole.logprobs, "logprobs");
  expect_same_bits(joined.entropy, whole.entropy, "entropy");
  expect_same_bits(joined.dh, whole.dh, "dh");
  expect_same_bits(w.p.grad.values(), whole_w.p.grad.values(), "dw");
}

TEST(TokenLogProbs, OneTokenACallEqualsTheWholeBatch) {
  Case c(23, 40, 129, 0.8f);
  c.targets[0] = c.targets[7] = c.targets[8] = c.targets[22] = -1;
  c.g[3] = 0;
  std::vector<int64_t> cuts;
  for (int64_t t = 0; t <= c.T; ++t) cuts.push_back(t);
  expect_pieces_equal_whole(c, cuts);
  expect_pieces_equal_whole(c, std::vector<int64_t>{0, 1, 12, 23});
}

TEST(TokenLogProbs, ChunksOfTheLogitBudgetDoNotShow) {
  // Each token takes a quarter of the budget, so chunks have 4 tokens and the last has 1. One skipped token
  // lies between.
  Case c(10, 3, kLogitFloats / 4, 1.3f);
  c.targets[5] = -1;
  c.targets[9] = static_cast<int32_t>(c.V - 1);
  expect_pieces_equal_whole(c, std::vector<int64_t>{0, 3, 10});
}

TEST(TokenLogProbs, LogitsKeptForTheBackwardAreThoseMadeAgain) {
  constexpr int64_t V = 300, T = kKeptLogits / V + 40;  // only the pieces keep their logits
  Case c(T, 5, V, 1.3f);
  for (size_t t = 0; t < static_cast<size_t>(T); t += 3) c.targets[t] = -1;
  for (size_t t = 1; t < static_cast<size_t>(T); t += 5) c.g[t] = 0;
  expect_pieces_equal_whole(c, std::vector<int64_t>{0, 400, T});
}

TEST(TokenLogProbs, ChunksOfManyTokensDoNotShow) {
  for (const int64_t T : {2047, 2048, 2049, 4100}) {
    Case c(T, 8, 5, 1.0f, static_cast<uint64_t>(T));
    for (int64_t t = 0; t < T; t += 11) c.targets[static_cast<size_t>(t)] = -1;
    expect_pieces_equal_whole(c, std::vector<int64_t>{0, 1, 700, T});
  }
}

TEST(TokenLogProbs, AgreeWithTheSamplerToTheBit) {
  for (const float temperature : {1.0f, 0.6f, 1.9f}) {
    Case c(40, 32, 401, temperature);
    OwnedParameter w({c.V, c.D}, c.w);
    Weight head(&w.p);
    Random random(6);
    std::vector<float> sampled;
    for (int64_t t = 0; t < c.T; ++t) {
      OpRun r(false, 1);
      std::vector<float> logits(static_cast<size_t>(c.V));
      matmul_into(r.ctx, c.h.data() + t * c.D, 1, head, logits.data());
      const SamplingParams params{.temperature = temperature, .top_k = t % 3 * 10, .top_p = 0.9f};
      const Sampled s = sample_token(logits.data(), c.V, params, random.uniform());
      c.targets[static_cast<size_t>(t)] = s.token;
      sampled.push_back(s.logprob);
    }
    const Result got = run(c, head);
    expect_same_bits(got.logprobs, sampled, "temperature " + std::to_string(temperature));
  }
}

TEST(TokenLogProbs, TokensWithoutGradientAreNotReadByTheBackward) {
  Case c(12, 16, 20, 1.0f);
  c.targets[2] = -1;
  c.g[2] = kNaN;  // belongs to a skipped token, so it is ignored
  c.g[4] = 0.0f;
  c.g[11] = -0.0f;
  const auto spoil = [&](const Tensor& h) {
    for (const int64_t t : {2, 4, 11}) {
      for (int64_t d = 0; d < c.D; ++d) h.f32()[t * c.D + d] = kNaN;
    }
  };
  OwnedParameter w({c.V, c.D}, c.w);
  Weight head(&w.p);
  const Result got = run(c, head, 2, spoil);
  for (int64_t t = 0; t < c.T; ++t) {
    for (int64_t d = 0; d < c.D; ++d) {
      const float v = got.dh[static_cast<size_t>(t * c.D + d)];
      EXPECT_TRUE(std::isfinite(v));
      if (t == 2 || t == 4 || t == 11) {
        EXPECT_EQ(v, 0.0f);
      }
    }
  }
  for (const float v : w.p.grad.values()) ASSERT_TRUE(std::isfinite(v));
}

TEST(TokenLogProbs, BiasGetsItsGradient) {
  const Case c(9, 8, 13, 1.0f);
  Random random(3);
  OwnedParameter w({c.V, c.D}, c.w), bias({c.V}, random_normal(random, c.V));
  Weight head(&w.p, &bias.p);
  run(c, head);
  // Every row of dz sums to 0, so the bias gradient does too. It equals dW for a constant input of 1.
  Case wide(c.T, c.D + 1, c.V, 1.0f);
  wide.g = c.g;
  wide.targets = c.targets;
  for (int64_t t = 0; t < c.T; ++t) {
    for (int64_t d = 0; d <= c.D; ++d) {
      wide.h[static_cast<size_t>(t * 9 + d)] = d < c.D ? c.h[static_cast<size_t>(t * 8 + d)] : 1.0f;
    }
  }
  for (int64_t n = 0; n < c.V; ++n) {
    for (int64_t d = 0; d <= c.D; ++d) {
      wide.w[static_cast<size_t>(n * 9 + d)] =
          d < c.D ? c.w[static_cast<size_t>(n * 8 + d)] : bias.p.value.f32()[n];
    }
  }
  OwnedParameter wide_w({c.V, c.D + 1}, wide.w);
  Weight wide_head(&wide_w.p);
  run(wide, wide_head);
  std::vector<double> want;
  for (int64_t n = 0; n < c.V; ++n) want.push_back(wide_w.p.grad.f32()[n * 9 + 8]);
  expect_near(bias.p.grad.values(), want, 1e-5, "bias");
}

TEST(TokenLogProbs, TakeNoTokensFrozenHeadsAndRefuseWrongTargets) {
  Case c(2, 4, 5, 1.0f);
  OwnedParameter w({5, 4}, c.w, false);
  Weight head(&w.p);
  EXPECT_EQ(run(c, head).dh.size(), 8u);
  OpRun r;
  const Tensor none = token_log_probs(r.ctx, r.input({0, 4}, {}), head, {}, 1.0f);
  EXPECT_EQ(none.count(), 0);
  r.seed(none, {});
  const Tensor h = r.input({2, 4}, c.h);
  const std::vector<int32_t> skipped = {-1, -1}, beyond = {5, 0}, below = {-2, 0};
  const Tensor nothing = token_log_probs(r.ctx, h, head, skipped, 1.0f);
  expect_same_bits(nothing.values(), std::vector<float>{0.0f, 0.0f}, "skipped");
  r.seed(nothing, std::vector<float>{1.0f, 1.0f});
  r.backward();
  EXPECT_THROW(token_log_probs(r.ctx, h, head, beyond, 1.0f), BrokenInvariant);
  EXPECT_THROW(token_log_probs(r.ctx, h, head, below, 1.0f), BrokenInvariant);
  EXPECT_THROW(token_log_probs(r.ctx, h, head, skipped, 0.0f), BrokenInvariant);
}

TEST(RowSoftmax, IsTheDefinitionInSixteenLanes) {
  Random random(4);
  for (const int64_t V : {1, 15, 16, 17, 40, 401}) {
    std::vector<float> z = random_normal(random, V, 5.0);
    std::vector<double> want;
    double max = -1e30, sum = 0;
    for (const float v : z) max = std::max(max, static_cast<double>(v * 0.5f));
    for (const float v : z) sum += std::exp(static_cast<double>(v * 0.5f) - max);
    const std::vector<float> logits = z;
    const RowSoftmax row = row_softmax(z.data(), V, 0.5f);
    EXPECT_EQ(static_cast<double>(row.max), max);
    EXPECT_NEAR(row.sum, sum, 1e-5 * sum);
    for (size_t n = 0; n < z.size(); ++n) EXPECT_EQ(z[n], logits[n] * 0.5f);
    EXPECT_NEAR(row.log_sum, std::log(sum), 1e-5);
  }
  std::vector<float> masked = {0.0f, -std::numeric_limits<float>::infinity()};
  EXPECT_EQ(row_softmax(masked.data(), 2, 1.0f).sum, 1.0f);
}

}  // namespace
}  // namespace r1::loss_test
