// The sampler: filters compared with a sort, draws with exact probabilities, log-probs with those of the
// trainer.
#include "ops/sample/sample.h"

#include <algorithm>
#include <numeric>

#include "ops/loss/loss.h"
#include "ops/simd/exp.h"
#include "tests/ops/test_util.h"

namespace r1::sample_test {
namespace {
using namespace test;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLastUniform = 1.0f - 0x1p-24f;

Sampled sample(std::vector<float> logits, const SamplingParams& params, float uniform) {
  return sample_token(logits.data(), static_cast<int64_t>(logits.size()), params, uniform);
}

// The definition by sorting: the kept tokens and their weights.
struct Kept {
  std::vector<int32_t> tokens;  // ascending
  std::vector<double> weights;
};
Kept kept_by_sort(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<float> z = logits;
  const RowSoftmax row = row_softmax(z.data(), static_cast<int64_t>(z.size()), 1.0f / params.temperature);
  const auto weight = [&](int32_t n) { return exp_f32(z[static_cast<size_t>(n)] - row.max); };
  std::vector<int32_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return z[static_cast<size_t>(a)] > z[static_cast<size_t>(b)];
  });
  if (params.top_k > 0 && params.top_k < static_cast<int64_t>(order.size())) {
    order.resize(static_cast<size_t>(params.top_k));
  }
  if (params.top_p < 1) {
    double total = 0, sum = 0;
    for (const int32_t n : order) total += weight(n);
    size_t keep = 0;
    do {
      sum += weight(order[keep++]);
    } while (keep < order.size() && sum < params.top_p * total);
    order.resize(keep);
  }
  if (params.min_p > 0)
    std::erase_if(order, [&](int32_t n) { return weight(n) < std::min(1.0f, params.min_p); });
  std::sort(order.begin(), order.end());
  Kept kept;
  for (const int32_t n : order) {
    if (weight(n) <= 0) continue;
    kept.tokens.push_back(n);
    kept.weights.push_back(weight(n));
  }
  return kept;
}

int32_t draw_from(const Kept& kept, float uniform) {
  const double total = std::accumulate(kept.weights.begin(), kept.weights.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < kept.tokens.size(); ++i) {
    sum += kept.weights[i];
    if (sum > uniform * total) return kept.tokens[i];
  }
  return kept.tokens.back();
}

TEST(Sample, FiltersAndDrawsAsASortWould) {
  Random random(1);
  for (const int64_t V : {1, 2, 3, 17, 255, 256, 257, 400, 12000}) {
    for (int round = 0; round < 48; ++round) {
      std::vector<float> logits = random_normal(random, V, 3.0);
      if (round % 3 == 1) {
        for (float& z : logits) z = std::nearbyint(z);  // many ties
      }
      if (round % 6 == 5) {  // thousands of ties in one bin
        for (float& z : logits) z = 0.125f * static_cast<float>(random.below(3)) - 4;
      }
      if (round % 5 == 4) logits[static_cast<size_t>(random.below(V))] = V > 1 ? -kInf : 0.0f;
      SamplingParams params{.temperature = 0.3f + random.uniform() * 2};
      if (random.below(2) == 0) params.top_k = random.between(1, V + 1);
      if (random.below(2) == 0) params.top_p = random.uniform();
      if (random.below(3) == 0) params.min_p = random.uniform() * 0.2f;
      const Kept kept = kept_by_sort(logits, params);
      for (int i = 0; i < 12; ++i) {
        const float uniform = i == 0 ? 0.0f : i == 1 ? kLastUniform : random.uniform();
        const Sampled got = sample(logits, params, uniform);
        ASSERT_EQ(got.token, draw_from(kept, uniform))
            << "V " << V << " round " << round << " uniform " << uniform << " temperature "
            << params.temperature << " top_k " << params.top_k << " top_p " << params.top_p << " min_p "
            << params.min_p;
      }
    }
  }
}

TEST(Sample, LogProbIsTheTrainersBeforeFilters) {
  Random random(2);
  for (const int64_t V : {1, 5, 400, 1000}) {
    for (const float temperature : {0.6f, 1.0f, 1.7f}) {
      const std::vector<float> logits = random_normal(random, V, 2.0);
      const SamplingParams params{.temperature = temperature, .top_k = 3, .top_p = 0.9f, .min_p = 0.01f};
      const Sampled got = sample(logits, params, random.uniform());
      std::vector<float> z = logits;
      const RowSoftmax row = row_softmax(z.data(), V, 1.0f / temperature);
      EXPECT_EQ(got.logprob, row_log_prob(row, z.data(), got.token));
    }
  }
}

TEST(Sample, TemperatureZeroTakesTheLowestOfTheBestAndReportsAtOne) {
  const std::vector<float> logits = {1.0f, 3.0f, -kInf, 3.0f, 2.0f};
  for (const float uniform : {0.0f, 0.7f, kLastUniform}) {
    const Sampled got = sample(logits, {.temperature = 0.0f, .top_k = 2, .top_p = 0.1f}, uniform);
    EXPECT_EQ(got.token, 1);
    std::vector<float> z = logits;
    const RowSoftmax row = row_softmax(z.data(), 5, 1.0f);
    EXPECT_EQ(got.logprob, row_log_prob(row, z.data(), 1));
  }
  EXPECT_EQ(sample({-0.0f, 0.0f}, {.temperature = 0.0f}, 0.5f).token, 0);
  EXPECT_EQ(sample({-1.0f, -0.0f, 0.0f}, {.temperature = 0.0f}, 0.5f).token, 1);
}

TEST(Sample, BrokenRowsAreAnsweredByMinusOne) {
  for (const float temperature : {0.0f, 1.0f}) {
    for (size_t at = 0; at < 19; ++at) {
      std::vector<float> logits(19, 1.0f);
      logits[at] = kNaN;
      EXPECT_EQ(sample(logits, {.temperature = temperature}, 0.5f).token, -1) << at;
      logits[at] = kInf;
      EXPECT_EQ(sample(logits, {.temperature = temperature}, 0.5f).token, -1) << at;
    }
    EXPECT_EQ(sample(std::vector<float>(5, -kInf), {.temperature = temperature}, 0.5f).token, -1);
    EXPECT_EQ(sample(std::vector<float>(5, kNaN), {.temperature = temperature}, 0.5f).token, -1);
  }
}

std::vector<bool> drawn_by_grid(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<bool> seen(logits.size());
  for (int i = 0; i < 1024; ++i) {
    seen[static_cast<size_t>(sample(logits, params, static_cast<float>(i) / 1024).token)] = true;
  }
  return seen;
}

TEST(Sample, TopPKeepsTheShortestPrefixThatReachesIt) {
  const std::vector<float> four(4, 0.7f);  // a quarter each, exactly
  using Seen = std::vector<bool>;
  EXPECT_EQ(drawn_by_grid(four, {.top_p = 0.5f}), (Seen{true, true, false, false}));
  EXPECT_EQ(drawn_by_grid(four, {.top_p = std::nextafter(0.5f, 1.0f)}), (Seen{true, true, true, false}));
  EXPECT_EQ(drawn_by_grid(four, {.top_p = std::nextafter(0.5f, 0.0f)}), (Seen{true, true, false, false}));
  EXPECT_EQ(drawn_by_grid(four, {.top_p = 0.0f}), (Seen{true, false, false, false}));
  EXPECT_EQ(drawn_by_grid(four, {.top_p = std::nextafter(1.0f, 0.0f)}), (Seen{true, true, true, true}));
  EXPECT_EQ(drawn_by_grid({0.0f, 5.0f, 0.0f}, {.top_p = 1e-9f}), (Seen{false, true, false}));
  // After top-k, two tokens of one half each are left. The first alone reaches one half.
  EXPECT_EQ(drawn_by_grid(four, {.top_k = 2, .top_p = 0.5f}), (Seen{true, false, false, false}));
}

TEST(Sample, TopKAndMinPBreakTiesByTheLowerIndex) {
  using Seen = std::vector<bool>;
  const std::vector<float> logits = {1.0f, 2.0f, 1.0f, 2.0f, 1.0f};
  EXPECT_EQ(drawn_by_grid(logits, {.top_k = 1}), (Seen{false, true, false, false, false}));
  EXPECT_EQ(drawn_by_grid(logits, {.top_k = 3}), (Seen{true, true, false, true, false}));
  EXPECT_EQ(drawn_by_grid(logits, {.top_k = 4}), (Seen{true, true, true, true, false}));
  EXPECT_EQ(drawn_by_grid(logits, {.min_p = 1.0f}), (Seen{false, true, false, true, false}));
  EXPECT_EQ(drawn_by_grid(logits, {.min_p = 7.0f}), (Seen{false, true, false, true, false}));
  EXPECT_EQ(drawn_by_grid(logits, {.min_p = exp_f32(-1.0f)}), (Seen{true, true, true, true, true}));
  EXPECT_EQ(drawn_by_grid(logits, {.min_p = std::nextafter(exp_f32(-1.0f), 1.0f)}),
            (Seen{false, true, false, true, false}));
}

TEST(Sample, FollowsTheDistribution) {
  Random random(3);
  const std::vector<float> logits = random_normal(random, 120, 2.0);
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.temperature = 0.6f},
        SamplingParams{.temperature = 1.5f, .top_k = 30}, SamplingParams{.top_p = 0.8f},
        SamplingParams{.temperature = 2.0f, .min_p = 0.05f}}) {
    const Kept kept = kept_by_sort(logits, params);
    const double total = std::accumulate(kept.weights.begin(), kept.weights.end(), 0.0);
    constexpr int kDraws = 8000;
    std::vector<double> counts(logits.size());
    for (int i = 0; i < kDraws; ++i)
      ++counts[static_cast<size_t>(sample(logits, params, random.uniform()).token)];
    double chi2 = 0, rest_want = 0, rest_got = 0, accounted = 0;
    int cells = 0;
    for (size_t i = 0; i < kept.tokens.size(); ++i) {
      const double want = kDraws * kept.weights[i] / total;
      const double got = counts[static_cast<size_t>(kept.tokens[i])];
      accounted += got;
      if (want < 10) {  // pooled
        rest_want += want, rest_got += got;
        continue;
      }
      chi2 += (got - want) * (got - want) / want;
      ++cells;
    }
    if (rest_want >= 10) {
      chi2 += (rest_got - rest_want) * (rest_got - rest_want) / rest_want;
      ++cells;
    }
    EXPECT_EQ(accounted, kDraws) << "a filtered token was drawn";
    const double freedom = std::max(1, cells - 1);
    EXPECT_LT(chi2, freedom + 4 * std::sqrt(2 * freedom) + 8) << "degrees of freedom " << freedom;
  }
}

TEST(Sample, NeverDrawsAnImpossibleToken) {
  std::vector<float> logits(600, -200.0f);  // weight exactly 0 beside token 300
  logits[300] = 0.0f;
  for (const float uniform : {0.0f, 0.5f, kLastUniform}) {
    for (const float top_p : {1.0f, 0.99f}) {
      EXPECT_EQ(sample(logits, {.top_p = top_p}, uniform).token, 300);
      EXPECT_EQ(sample(logits, {.top_k = 20, .top_p = top_p}, uniform).token, 300);
    }
  }
}

TEST(Sample, ReportsTheLikeliestTokensAsASortWould) {
  Random random(4);
  for (int round = 0; round < 200; ++round) {
    const int64_t V = random.between(1, 300);
    std::vector<float> logits;
    // Few different values, so that there are ties.
    for (int64_t i = 0; i < V; ++i) logits.push_back(static_cast<float>(random.between(-4, 4)));
    const float temperature = round % 2 == 0 ? 0.0f : 0.5f;
    std::vector<float> z = logits;
    const RowSoftmax row = row_softmax(z.data(), V, temperature == 0 ? 1.0f : 1.0f / temperature);
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
    std::vector<Sampled> got(static_cast<size_t>(random.between(1, 20)));
    const SamplingParams params{.temperature = temperature, .top_k = 3, .top_p = 0.5f};
    std::vector<float> own = logits;
    const Sampled drawn = sample_token(own.data(), V, params, 0.3f, {}, {.likeliest = got});
    EXPECT_EQ(drawn.token, sample(logits, params, 0.3f).token);  // asking changes no draw
    for (size_t i = 0; i < got.size(); ++i) {
      if (i >= order.size()) {
        EXPECT_EQ(got[i].token, -1);
        continue;
      }
      EXPECT_EQ(got[i].token, order[i]);
      EXPECT_EQ(got[i].logprob, row_log_prob(row, z.data(), order[i]));
    }
  }
}

TEST(Sample, AForcedTokenHasTheModelsLogProb) {
  const std::vector<float> logits = {1.0f, -2.0f, 0.5f, 3.0f};
  std::vector<float> z = logits;
  const RowSoftmax row = row_softmax(z.data(), 4, 2.0f);
  for (int32_t token = 0; token < 4; ++token) {
    std::vector<float> own = logits;
    // Neither the filters nor the mask have a say.
    const std::vector<uint64_t> mask = {1};
    const Sampled got =
        sample_token(own.data(), 4, {.temperature = 0.5f, .top_k = 1}, 0.9f, mask, {.forced = token});
    EXPECT_EQ(got.token, token);
    EXPECT_EQ(got.logprob, row_log_prob(row, z.data(), token));
  }
}

TEST(Sample, ManyTokensAreTheSameBitsOnEveryInstructionSet) {
  Random random(4);
  const int64_t V = 151936;
  const std::vector<float> logits = random_normal(random, V, 2.5);
  const SamplingParams list[] = {{.temperature = 0.8f},
                                 {.temperature = 0.8f, .top_p = 0.95f},
                                 {.temperature = 0.8f, .top_k = 1000, .top_p = 0.95f},
                                 {.temperature = 1.2f, .top_k = 50}};
  Random draws(5);
  for (const SamplingParams& params : list) {
    const float uniform = draws.uniform();
    const Sampled got = sample(logits, params, uniform);
    EXPECT_EQ(got.token, draw_from(kept_by_sort(logits, params), uniform));
    const WithoutAvx512 guard;
    const Sampled narrow = sample(logits, params, uniform);
    EXPECT_EQ(narrow.token, got.token);
    EXPECT_EQ(narrow.logprob, got.logprob);
  }
}

}  // namespace
}  // namespace r1::sample_test
