// tests/gpu/sample_test.cc: draws on the device are the CPU's, log-probs to the bit: temperatures, filters,
// masks, penalties, ties, rows that share their logits.
#include "ops/sample/sample.h"

#include "ops/sample/history.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

class CudaSample : public OnDevice {};

// Draws of one batch, by both devices.
struct DrawCase {
  explicit DrawCase(int64_t v) : V(v) {}
  void add(std::vector<float> z, SamplingParams p, float uniform) {
    logits.push_back(std::move(z));
    params.push_back(std::move(p));
    uniforms.push_back(uniform);
    masks.emplace_back();
    histories.emplace_back();
    shared.push_back(-1);
  }
  int64_t V;
  std::vector<std::vector<float>> logits;
  std::vector<SamplingParams> params;
  std::vector<float> uniforms;
  std::vector<std::vector<uint64_t>> masks;
  std::vector<std::unique_ptr<TokenHistory>> histories;
  std::vector<int> shared;  // the row whose logits this one reads; -1: its own
  std::vector<int32_t> stops{0, 3};
};

std::vector<Sampled> drawn_by(auto& r, const DrawCase& c) {
  std::vector<Tensor> tensors;
  for (const auto& z : c.logits) tensors.push_back(r.input({c.V}, z));
  std::vector<RowToSample> rows;
  for (size_t i = 0; i < c.logits.size(); ++i) {
    const bool shares =
        std::ranges::find(c.shared, static_cast<int>(i)) != c.shared.end() || c.shared[i] >= 0;
    rows.push_back({.logits = tensors[c.shared[i] >= 0 ? static_cast<size_t>(c.shared[i]) : i],
                    .keep = shares,
                    .params = &c.params[i],
                    .uniform = c.uniforms[i],
                    .history = c.histories[i].get(),
                    .stop_tokens = c.stops,
                    .allowed = c.masks[i]});
  }
  std::vector<Sampled> out(rows.size());
  sample_rows(r.ctx, c.V, rows, out);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].keep || c.shared[i] >= 0) continue;
    EXPECT_EQ(values(r, tensors[i]), c.logits[i]) << "kept logits";
  }
  return out;
}

void compare_draws(const DrawCase& c, const std::string& what) {
  OpRun cpu(false);
  DeviceRun device(false);
  const std::vector<Sampled> want = drawn_by(cpu, c), got = drawn_by(device, c);
  int failures = 0;
  for (size_t i = 0; i < want.size() && failures < 5; ++i) {
    const bool same = got[i].token == want[i].token &&
                      (std::bit_cast<uint32_t>(got[i].logprob) == std::bit_cast<uint32_t>(want[i].logprob) ||
                       (std::isnan(got[i].logprob) && std::isnan(want[i].logprob)));
    if (same) continue;
    ++failures;
    ADD_FAILURE() << what << ", V " << c.V << ", row " << i << ": token " << got[i].token << " and "
                  << std::hexfloat << got[i].logprob << ", CPU " << want[i].token << " and "
                  << want[i].logprob;
  }
}

SamplingParams random_params(Random& random, int64_t V) {
  SamplingParams p;
  p.temperature = random.below(5) == 0 ? 0.0f : 0.5f + random.uniform();
  if (random.below(2) == 0) p.top_k = random.between(1, V + 1);
  if (random.below(2) == 0) p.top_p = 0.2f + 0.8f * random.uniform();
  if (random.below(3) == 0) p.min_p = 0.1f * random.uniform();
  return p;
}

std::vector<float> random_logits(Random& random, int64_t V) {
  auto z = random_normal(random, V, 0.1 + 6.0 * static_cast<double>(random.uniform()));
  const int64_t kind = random.below(5);
  if (kind == 0) {
    for (float& v : z) v = std::round(v);  // many ties
  } else if (kind == 1) {
    for (float& v : z) v = v < 0 ? -std::numeric_limits<float>::infinity() : v;
    z[0] = 1.0f;
  } else if (kind == 2) {
    std::ranges::fill(z, -0.0f);
    z[static_cast<size_t>(random.below(V))] = 0.0f;
  }
  return z;
}

TEST_F(CudaSample, DrawsWhatTheCpuDraws) {
  for (const int64_t V : {1, 2, 41, 255, 256, 257, 1000, 5000, 40001}) {
    Random random(static_cast<uint64_t>(V));
    DrawCase c(V);
    for (int i = 0; i < 150; ++i) {
      auto z = random_logits(random, V);
      auto p = random_params(random, V);
      c.add(std::move(z), std::move(p), random.uniform());
    }
    compare_draws(c, "draws");
  }
}

TEST_F(CudaSample, DrawsFromALargeVocabulary) {
  const int64_t V = 152064;
  Random random(7);
  DrawCase c(V);
  for (int i = 0; i < 24; ++i) {
    auto z = random_logits(random, V);
    c.add(std::move(z), random_params(random, V), random.uniform());
  }
  // Every logit is equal, or all lie within one bin: the cuts are found digit by digit.
  for (const float top_p : {0.1f, 0.5f, 0.999f}) {
    c.add(std::vector<float>(static_cast<size_t>(V), 0.25f), {.top_p = top_p}, 0.7f);
    c.add(random_normal(random, V, 0.001), {.top_p = top_p}, 0.3f);
    c.add(random_normal(random, V, 0.001), {.top_k = 30000, .top_p = top_p}, 0.9f);
    auto tail = random_normal(random, V, 3.0);
    tail[5] = 90.0f;  // all others are in the last bin
    c.add(std::move(tail), {.top_k = 5000, .top_p = top_p}, 0.999999f);
  }
  compare_draws(c, "large");
}

// Rows without filters, which many blocks draw together.
TEST_F(CudaSample, DrawsPlainlyFromManyLogits) {
  for (const int64_t V : {8192, 8193, 12289, 49152, 151936}) {
    Random random(static_cast<uint64_t>(V));
    DrawCase c(V);
    for (int i = 0; i < 20; ++i) {
      auto z = random_logits(random, V);
      const float temperature = i % 4 == 0 ? 0.0f : i % 4 == 1 ? 1.0f : 0.3f + random.uniform();
      c.add(std::move(z), {.temperature = temperature},
            i == 5   ? 0.0f
            : i == 6 ? 0.99999994f
                     : random.uniform());
    }
    for (const float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
      auto z = random_normal(random, V);
      z[static_cast<size_t>(V - 1)] = bad;
      c.add(std::move(z), {}, 0.5f);
    }
    c.add(std::vector<float>(static_cast<size_t>(V), -std::numeric_limits<float>::infinity()), {}, 0.1f);
    auto last = std::vector<float>(static_cast<size_t>(V), -std::numeric_limits<float>::infinity());
    last.back() = -3.0f;
    c.add(last, {}, 0.9f);
    c.shared[2] = 1;  // two draws from the same logits
    c.logits[2] = c.logits[1];
    compare_draws(c, "plain");
  }
}

// So many rows that their weights do not fit the scratch together.
TEST_F(CudaSample, DrawsPlainlyInSeveralLaunches) {
  const int64_t V = 151936;
  Random random(11);
  DrawCase c(V);
  constexpr int kOwn = 4;
  for (int i = 0; i < 450; ++i) {
    c.add(i < kOwn ? random_normal(random, V, 2.0) : c.logits[static_cast<size_t>(i % kOwn)],
          {.temperature = i % 3 == 0   ? 1.0f
                          : i % 3 == 1 ? 0.0f
                                       : 0.7f},
          random.uniform());
    if (i >= kOwn) c.shared[static_cast<size_t>(i)] = i % kOwn;
  }
  compare_draws(c, "plain");
}

TEST_F(CudaSample, MasksAndSharesRows) {
  for (const int64_t V : {64, 129, 3000}) {
    Random random(static_cast<uint64_t>(V));
    DrawCase c(V);
    for (int i = 0; i < 60; ++i) {
      auto z = random_logits(random, V);
      c.add(std::move(z), random_params(random, V), random.uniform());
      if (i % 7 == 4) c.shared.back() = 3;
      if (i % 2 == 0) continue;
      auto& mask = c.masks.back();
      mask.assign(static_cast<size_t>((V + 63) / 64), 0);
      for (int64_t n = 0; n < V; ++n)
        if (random.below(i % 3 == 0 ? 20 : 2) == 0)
          mask[static_cast<size_t>(n / 64)] |= uint64_t{1} << (n % 64);
      if (i == 59) std::ranges::fill(mask, 0);  // nothing is left
    }
    compare_draws(c, "masks");
  }
}

TEST_F(CudaSample, PenaltiesBiasesAndBans) {
  for (const int64_t V : {40, 1000}) {
    Random random(static_cast<uint64_t>(V) + 1);
    DrawCase c(V);
    for (int i = 0; i < 120; ++i) {
      auto z = random_logits(random, V);
      SamplingParams p = random_params(random, V);
      const auto token = [&] { return static_cast<int32_t>(random.below(V)); };
      if (random.below(2) == 0) p.repetition_penalty = 0.5f + random.uniform();
      if (random.below(2) == 0) p.presence_penalty = random.uniform();
      if (random.below(2) == 0) p.frequency_penalty = random.uniform() - 0.5f;
      if (random.below(3) == 0) p.no_repeat_ngram = random.between(1, 3);
      if (random.below(3) == 0) p.min_new_tokens = 30;
      if (random.below(3) == 0) p.suppress_tokens = {token(), token(), 1};
      if (random.below(3) == 0) p.begin_suppress_tokens = {token()};
      if (random.below(2) == 0) {
        const int32_t biased = token();
        p.sequence_bias = {
            {{biased}, 2.5f}, {{biased}, -0.75f}, {{1, token()}, 3.0f}, {{token()}, -INFINITY}};
      }
      c.add(std::move(z), p, random.uniform());
      std::vector<int32_t> prompt;
      for (int64_t n = random.below(20); n > 0; --n) prompt.push_back(token());
      c.histories.back() = std::make_unique<TokenHistory>(prompt);
      for (int64_t n = random.below(25); n > 0; --n) c.histories.back()->add(n % 4 == 0 ? 1 : token());
      if (i % 5 == 0) {
        c.masks.back().assign(static_cast<size_t>((V + 63) / 64), 0x5A5A5A5A5A5A5A5Aull);
      }
      if (i % 6 == 5) c.shared.back() = 2;
    }
    compare_draws(c, "penalties");
  }
}

TEST_F(CudaSample, ReportsBrokenLogits) {
  const int64_t V = 300;
  Random random(9);
  DrawCase c(V);
  for (const float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
    auto z = random_normal(random, V);
    z[77] = bad;
    c.add(z, {}, 0.5f);
    c.add(z, {.temperature = 0.0f}, 0.5f);
    c.histories.back() = std::make_unique<TokenHistory>(std::vector<int32_t>{1, 2});
  }
  c.add(std::vector<float>(300, -std::numeric_limits<float>::infinity()), {}, 0.1f);
  // The settings forbid every token.
  SamplingParams p;
  for (int32_t n = 0; n < V; ++n) p.suppress_tokens.push_back(n);
  c.add(random_normal(random, V), p, 0.1f);
  c.histories.back() = std::make_unique<TokenHistory>(std::vector<int32_t>{1, 2});
  compare_draws(c, "broken");
}

}  // namespace
}  // namespace r1
