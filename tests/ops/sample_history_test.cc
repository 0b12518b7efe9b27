// The settings that depend on the sequence so far are compared with their definition, written out token by
// token, followed by a plain draw from the processed logits.
#include <cmath>
#include <limits>
#include <map>

#include "ops/loss/loss.h"
#include "ops/sample/history.h"
#include "tests/ops/test_util.h"

namespace r1::sample_history_test {
namespace {
using namespace test;

constexpr float kInf = std::numeric_limits<float>::infinity();
using Ids = std::vector<int32_t>;

struct Sequence {
  Ids prompt, answer;
  Ids all() const {
    Ids both = prompt;
    both.insert(both.end(), answer.begin(), answer.end());
    return both;
  }
  TokenHistory history() const {
    TokenHistory h(prompt);
    for (const int32_t token : answer) h.add(token);
    return h;
  }
};

// Applies transformers' processors to a row, one after the other, and vLLM's two penalties at the place where
// vLLM applies them.
std::vector<float> processed(std::vector<float> z, const SamplingParams& p, const Sequence& s,
                             const Ids& stops) {
  const Ids all = s.all();
  const auto has = [](const Ids& ids, int32_t id) { return std::ranges::find(ids, id) != ids.end(); };
  for (const SequenceBias& bias : p.sequence_bias) {
    if (bias.tokens.size() == 1 && bias.bias == -kInf && has(stops, bias.tokens[0])) continue;
    bool matches = all.size() + 1 >= bias.tokens.size();
    for (size_t i = 0; matches && i + 1 < bias.tokens.size(); ++i)
      matches = all[all.size() + 1 - bias.tokens.size() + i] == bias.tokens[i];
    if (matches) z[static_cast<size_t>(bias.tokens.back())] += bias.bias;
  }
  std::map<int32_t, int> counts;
  for (const int32_t id : s.answer) ++counts[id];
  for (size_t n = 0; n < z.size(); ++n) {
    const auto id = static_cast<int32_t>(n);
    if (has(all, id)) z[n] = z[n] < 0 ? z[n] * p.repetition_penalty : z[n] / p.repetition_penalty;
    if (counts.contains(id)) {
      z[n] -= p.frequency_penalty * static_cast<float>(counts[id]);
      z[n] -= p.presence_penalty;
    }
    bool banned = has(p.suppress_tokens, id) || (s.answer.empty() && has(p.begin_suppress_tokens, id));
    const bool early = std::ssize(s.answer) < p.min_new_tokens || std::ssize(all) < p.min_length;
    banned = banned || (early && has(stops, id));
    if (const auto N = static_cast<size_t>(p.no_repeat_ngram); N > 0 && all.size() + 1 >= N) {
      Ids next(all.end() - static_cast<std::ptrdiff_t>(N - 1), all.end());
      next.push_back(id);
      for (size_t i = 0; i + N <= all.size(); ++i) {
        banned = banned || std::equal(next.begin(), next.end(), all.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    if (banned) z[n] = -kInf;
  }
  return z;
}

SamplingParams random_params(Random& random, int32_t V) {
  SamplingParams p{.temperature = random.between(0, 2) == 0 ? 0.0f : 0.3f + random.uniform() * 2};
  const auto maybe = [&] { return random.between(0, 1) == 0; };
  const auto token = [&] { return static_cast<int32_t>(random.between(0, V - 1)); };
  if (maybe()) p.top_k = random.between(1, V);
  if (maybe()) p.top_p = 0.2f + 0.7f * random.uniform();
  if (maybe()) p.min_p = 0.2f * random.uniform();
  if (maybe()) p.repetition_penalty = 0.5f + 2 * random.uniform();
  if (maybe()) p.presence_penalty = 4 * random.uniform() - 2;
  if (maybe()) p.frequency_penalty = 2 * random.uniform() - 1;
  if (maybe()) p.no_repeat_ngram = random.between(1, 3);
  if (maybe()) p.min_new_tokens = random.between(0, 8);
  if (maybe()) p.min_length = random.between(0, 16);
  for (int64_t n = random.between(0, 3); n > 0; --n) p.suppress_tokens.push_back(token());
  for (int64_t n = random.between(0, 3); n > 0; --n) p.begin_suppress_tokens.push_back(token());
  for (int64_t n = random.between(0, 5); n > 0; --n) {
    SequenceBias& bias = p.sequence_bias.emplace_back();
    for (int64_t k = random.between(1, 3); k > 0; --k) bias.tokens.push_back(token());
    bias.bias = maybe() ? -kInf : 6 * random.uniform() - 3;
  }
  return p;
}

TEST(LookingBack, DrawsFromTheLogitsThatTransformersMakes) {
  constexpr int32_t V = 40;
  Random random(7);
  int drawn = 0, changed = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    const SamplingParams params = random_params(random, V);
    Sequence s;
    for (int64_t n = random.between(1, 12); n > 0; --n)
      s.prompt.push_back(static_cast<int32_t>(random.between(0, 9)));
    for (int64_t n = random.between(0, 12); n > 0; --n)
      s.answer.push_back(static_cast<int32_t>(random.between(0, 9)));
    const Ids stops = {3, 17};
    std::vector<float> logits(V);
    for (float& z : logits) z = static_cast<float>(random.normal() * 3);
    const float uniform = random.uniform();
    SamplingParams plain = {.temperature = params.temperature,
                            .top_k = params.top_k,
                            .top_p = params.top_p,
                            .min_p = params.min_p};
    std::vector<float> made = processed(logits, params, s, stops);
    std::vector<float> raw = logits, mine = logits;
    const Sampled got = sample_token(mine.data(), V, params, s.history(), stops, uniform);
    if (std::ranges::all_of(made, [](float z) { return z == -kInf; })) {
      EXPECT_EQ(got.token, kNothingLeft);
      continue;
    }
    const Sampled want = sample_token(made.data(), V, plain, uniform);
    ASSERT_EQ(got.token, want.token) << "trial " << trial;
    // The log-prob belongs to the model's own logits.
    const float scale = params.temperature == 0 ? 1.0f : 1.0f / params.temperature;
    const RowSoftmax row = row_softmax(raw.data(), V, scale);
    EXPECT_EQ(got.logprob, row_log_prob(row, raw.data(), got.token)) << "trial " << trial;
    ++drawn;
    std::vector<float> again = logits;
    changed += sample_token(again.data(), V, plain, uniform).token != got.token;
  }
  EXPECT_GT(drawn, 3900);
  EXPECT_GT(changed, 500);  // the settings make a difference
}

TEST(LookingBack, WithoutSuchSettingsTheBitsAreThoseOfAPlainDraw) {
  EXPECT_FALSE(looks_back({.temperature = 0.6f, .top_k = 20, .top_p = 0.95f, .min_p = 0.1f}));
  Random random(3);
  constexpr int64_t V = 1000;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> a(V);
    for (float& z : a) z = static_cast<float>(random.normal() * 4);
    std::vector<float> b = a;
    const SamplingParams params{.temperature = 0.7f, .top_p = 0.9f};
    const float uniform = random.uniform();
    const Sampled plain = sample_token(a.data(), V, params, uniform);
    const Sampled with = sample_token(b.data(), V, params, TokenHistory(Ids{1, 2, 3}), Ids{4}, uniform);
    EXPECT_EQ(plain.token, with.token);
    EXPECT_EQ(plain.logprob, with.logprob);
  }
}

TEST(LookingBack, BrokenLogitsAndForbiddenVocabulariesAreTold) {
  const SamplingParams params{.repetition_penalty = 1.5f};
  std::vector<float> broken{1.0f, std::numeric_limits<float>::quiet_NaN(), 2.0f};
  EXPECT_EQ(sample_token(broken.data(), 3, params, TokenHistory(Ids{0}), {}, 0.5f).token, kNotNumbers);
  std::vector<float> fine{1.0f, 0.0f, 2.0f};
  EXPECT_EQ(
      sample_token(fine.data(), 3, {.suppress_tokens = {0, 1, 2}}, TokenHistory(Ids{0}), {}, 0.5f).token,
      kNothingLeft);
  // transformers ignores a ban on a stop token by itself.
  std::vector<float> last{1.0f, 0.0f, 2.0f};
  const SamplingParams ban{.temperature = 0.0f, .sequence_bias = {{.tokens = {2}, .bias = -kInf}}};
  EXPECT_EQ(sample_token(last.data(), 3, ban, TokenHistory(Ids{0}), Ids{2}, 0.5f).token, 2);
}

}  // namespace
}  // namespace r1::sample_history_test
