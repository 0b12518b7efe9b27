// The draws of a batch are those of each row alone; a mask forbids and changes no log-prob.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "ops/sample/history.h"
#include "ops/sample/sample.h"
#include "tensor/context.h"

namespace r1::sample_rows_test {
namespace {

std::vector<float> random_logits(Random& random, int64_t n) {
  std::vector<float> z(static_cast<size_t>(n));
  for (float& v : z) v = static_cast<float>(4 * random.normal());
  return z;
}

std::vector<uint64_t> mask_of(int64_t V, const auto& allows) {
  std::vector<uint64_t> mask(static_cast<size_t>((V + 63) / 64), 0);
  for (int64_t n = 0; n < V; ++n) {
    if (allows(n)) mask[static_cast<size_t>(n / 64)] |= uint64_t{1} << (n % 64);
  }
  return mask;
}

SamplingParams random_params(Random& random, int64_t V) {
  SamplingParams p;
  p.temperature = random.below(4) == 0 ? 0.0f : 0.5f + random.uniform();
  if (random.below(2) == 0) p.top_k = random.between(1, V);
  if (random.below(2) == 0) p.top_p = 0.3f + 0.7f * random.uniform();
  if (random.below(3) == 0) p.min_p = 0.1f * random.uniform();
  return p;
}

TEST(SampleRows, EqualTheSingleRowForAnyBatch) {
  Random random(3);
  for (const int64_t V : {1, 41, 64, 1000}) {
    for (const int threads : {1, 3}) {
      Arena arena;
      ThreadPool pool(threads);
      Context ctx{.arena = arena, .threads = pool};
      constexpr size_t S = 70;
      std::vector<std::vector<float>> logits, before;
      std::vector<SamplingParams> params;
      std::vector<std::vector<uint64_t>> masks;
      std::vector<TokenHistory> histories;
      const std::vector<int32_t> stops{0};
      for (size_t i = 0; i < S; ++i) {
        logits.push_back(random_logits(random, V));
        params.push_back(random_params(random, V));
        if (i % 5 == 0) params.back().repetition_penalty = 1.5f;
        histories.emplace_back(std::vector<int32_t>{0, static_cast<int32_t>(V / 2)});
        masks.push_back(i % 2 == 0 ? std::vector<uint64_t>{}
                                   : mask_of(V, [&](int64_t n) { return n == 0 || random.below(3) > 0; }));
      }
      before = logits;
      std::vector<RowToSample> rows;
      std::vector<Sampled> want, got(S);
      for (size_t i = 0; i < S; ++i) {
        // Rows 3, 10, 17 ... share the logits of row 3, which they keep.
        Tensor z;
        z.data = i % 7 == 3 ? logits[3].data() : logits[i].data();
        z.shape = Shape{V};
        const float uniform = random.uniform();
        rows.push_back({.logits = z,
                        .keep = i % 7 == 3,
                        .params = &params[i],
                        .uniform = uniform,
                        .history = i % 5 == 0 ? &histories[i] : nullptr,
                        .stop_tokens = stops,
                        .allowed = masks[i]});
        std::vector<float> own = i % 7 == 3 ? before[3] : before[i];
        want.push_back(i % 5 == 0
                           ? sample_token(own.data(), V, params[i], histories[i], stops, uniform, masks[i])
                           : sample_token(own.data(), V, params[i], uniform, masks[i]));
      }
      sample_rows(ctx, V, rows, got);
      for (size_t i = 0; i < S; ++i) {
        EXPECT_EQ(got[i].token, want[i].token) << "row " << i;
        EXPECT_EQ(got[i].logprob, want[i].logprob) << "row " << i;
        EXPECT_GE(got[i].token, 0);
      }
      EXPECT_EQ(logits[3], before[3]) << "kept";
      EXPECT_EQ(arena.mark(), 0u);
    }
  }
}

// A mask has the effect of suppress_tokens.
TEST(SampleRows, AMaskForbidsAndLeavesTheLogProb) {
  Random random(4);
  constexpr int64_t V = 300;
  int64_t changed = 0;
  for (int round = 0; round < 400; ++round) {
    const std::vector<float> z = random_logits(random, V);
    SamplingParams params = random_params(random, V);
    const auto mask = mask_of(V, [&](int64_t n) { return n == 7 || random.below(2) == 0; });
    const float uniform = random.uniform();
    std::vector<float> a = z, b = z, c = z;
    const Sampled got = sample_token(a.data(), V, params, uniform, mask);
    const Sampled free = sample_token(c.data(), V, params, uniform);
    for (int32_t n = 0; n < V; ++n) {
      if ((mask[static_cast<size_t>(n / 64)] >> (n % 64) & 1) == 0) params.suppress_tokens.push_back(n);
    }
    const Sampled want =
        sample_token(b.data(), V, params, TokenHistory(std::vector<int32_t>{1}), {}, uniform);
    EXPECT_EQ(got.token, want.token);
    EXPECT_EQ(got.logprob, want.logprob);
    EXPECT_TRUE(mask[static_cast<size_t>(got.token / 64)] >> (got.token % 64) & 1);
    changed += got.token != free.token ? 1 : 0;
    if (got.token != free.token) continue;
    EXPECT_EQ(got.logprob, free.logprob);
  }
  EXPECT_GT(changed, 50);
}

TEST(SampleRows, AMaskOfNothingAndNaNAreSaid) {
  std::vector<float> z{1, 2, 3}, broken{1, NAN, 3};
  const std::vector<uint64_t> none{0}, all{7}, two{2};
  EXPECT_EQ(sample_token(z.data(), 3, {}, 0.5f, none).token, kNothingLeft);
  EXPECT_EQ(sample_token(broken.data(), 3, {}, 0.5f, none).token, kNotNumbers);
  z = {1, 2, 3};
  EXPECT_EQ(sample_token(z.data(), 3, {.temperature = 0}, 0.5f, two).token, 1);
  z = {1, 2, 3};
  EXPECT_EQ(sample_token(z.data(), 3, {.suppress_tokens = {1}}, TokenHistory(std::vector<int32_t>{0}), {},
                         0.5f, two)
                .token,
            kNothingLeft);
  const std::vector<uint64_t> too_long{7, 7};
  z = {1, 2, 3};
  EXPECT_THROW(sample_token(z.data(), 3, {}, 0.5f, too_long), BrokenInvariant);
}

}  // namespace
}  // namespace r1::sample_rows_test
