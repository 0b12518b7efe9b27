// One forward with quantised weights (cpu-q8act): a token's log-prob has the same bits for any batch, chunk,
// number of threads and kernel, and in sampling and scoring.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/engine.h"
#include "model/scoring.h"
#include "ops/matmul/quant_dot.h"
#include "tests/formats/formats_test_util.h"
#include "tests/model/quantised_models.h"

namespace r1::quantised_test {
namespace {

constexpr Numerics kQ8 = Numerics::cpu_q8act;
constexpr Numerics kAllQ8[] = {kQ8, Numerics::cpu_q8act_kv_f32, Numerics::cpu_q8act_kv_q8};

class Quantised : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path file() const {
    const std::filesystem::path path = directory_.path() / "model.gguf";
    if (std::string_view(GetParam()) == "llama") {
      test::write_quantised_llama(path);
    } else {
      test::write_quantised_deepseek(path);
    }
    return path;
  }
  TemporaryDirectory directory_;
};

std::vector<Request> some_requests(const ModelConfig& config) {
  Random random(4);
  std::vector<Request> list;
  for (uint32_t i = 0; i < 7; ++i) {
    Request& r = list.emplace_back();
    for (int64_t n = random.between(1, 40); n > 0; --n)
      r.prompt.push_back(static_cast<int32_t>(random.between(0, config.vocab_size - 1)));
    if (i > 4) r.prompt = list[3].prompt;  // shared in the prefix tree
    r.samples = random.between(1, 3);
    r.max_tokens = random.between(1, 20);
    r.sampling = {.temperature = i % 3 == 0 ? 0.0f : 0.8f};
    r.key = {.seed = 9, .step = 2, .prompt = i};
  }
  return list;
}

std::vector<Completion> sampled(const Model& model, int threads, EngineOptions options,
                                std::span<const Request> requests, Numerics numerics = kQ8) {
  Arena arena;
  ThreadPool pool(threads);
  Context ctx{.arena = arena, .threads = pool, .tape = nullptr, .device = Device::cpu, .numerics = numerics};
  return Engine(model, ctx, options).run(requests);
}

TEST_P(Quantised, SamplesDoNotDependOnBatchChunkThreadsOrKernel) {
  const Model model = Model::load(file(), DType::f32, WeightUse::inference);
  const std::vector<Request> requests = some_requests(model.config());
  const auto want = sampled(model, 1, {.max_batch = 1, .prefill_chunk = 1000, .kv_bytes = 0}, requests);
  float most = -1e9f, least = 0;
  for (const Completion& c : want)
    for (const float logprob : c.logprobs) {
      ASSERT_TRUE(std::isfinite(logprob));
      most = std::max(most, logprob);
      least = std::min(least, logprob);
    }
  EXPECT_GT(most - least, 0.1f) << "the model says something";
  for (const QuantKernel& kernel : quant_kernels()) {
    if (!kernel.usable) continue;
    const WithQuantKernel chosen(kernel);
    for (const EngineOptions& options :
         {EngineOptions{.max_batch = 5, .prefill_chunk = 3, .kv_bytes = 0},
          EngineOptions{.max_batch = 64, .prefill_chunk = 1000, .kv_bytes = 0}}) {
      const auto got = sampled(model, 2, options, requests);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].tokens, want[i].tokens) << kernel.name;
        EXPECT_EQ(got[i].logprobs, want[i].logprobs) << kernel.name << ", sample " << i;
      }
    }
  }
}

void expect_scored_as_sampled(const Model& model, const std::vector<Request>& requests, Numerics numerics) {
  const auto samples =
      sampled(model, 2, {.max_batch = 16, .prefill_chunk = 7, .kv_bytes = 0}, requests, numerics);
  std::vector<std::vector<int32_t>> whole;
  for (const Completion& c : samples) {
    whole.push_back(requests[static_cast<size_t>(c.request)].prompt);
    whole.back().insert(whole.back().end(), c.tokens.begin(), c.tokens.end());
  }
  std::vector<ScoredRow> rows;
  for (size_t i = 0; i < samples.size(); ++i)
    rows.push_back({whole[i], std::ssize(whole[i]) - std::ssize(samples[i].tokens)});
  ThreadPool pool(2);
  Lanes lanes(pool, numerics);
  for (const int64_t micro : {1, 50, 100000}) {
    const auto scored = score(model, lanes, rows, {.temperature = 1.0f, .micro_tokens = micro});
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(scored[i], samples[i].logprobs) << "sample " << i;
  }
}

TEST_P(Quantised, SamplingEqualsScoringToTheBit) {
  const Model model = Model::load(file(), DType::f32, WeightUse::inference);
  std::vector<Request> requests = some_requests(model.config());
  for (Request& r : requests) r.sampling.temperature = 1.0f;
  for (const Numerics numerics : kAllQ8) expect_scored_as_sampled(model, requests, numerics);
}

// Keys and values have the same one forward in every type, and each type its own bits.
TEST_P(Quantised, KeysOfOtherTypesDoNotDependOnTheBatchEither) {
  const Model model = Model::load(file(), DType::f32, WeightUse::inference);
  const std::vector<Request> requests = some_requests(model.config());
  const int64_t context = model.config().max_positions;
  std::vector<std::vector<Completion>> answers;
  for (const Numerics numerics : kAllQ8) {
    const int64_t page = KvCache::bytes_per_page(model.config(), row_of(numerics).cache);
    const auto want =
        sampled(model, 1, {.max_batch = 1, .prefill_chunk = 1000, .kv_bytes = 0}, requests, numerics);
    for (const EngineOptions& options : {EngineOptions{.max_batch = 5, .prefill_chunk = 3, .kv_bytes = 0},
                                         EngineOptions{.max_batch = 64,
                                         .prefill_chunk = 1000,
                                         .kv_bytes = (KvCache::pages_for(context) + 2) * page}}) {
      const auto got = sampled(model, 2, options, requests, numerics);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].tokens, want[i].tokens) << name_of(numerics);
        EXPECT_EQ(got[i].logprobs, want[i].logprobs) << name_of(numerics) << ", sample " << i;
      }
    }
    answers.push_back(want);
  }
  EXPECT_NE(answers[0][0].logprobs, answers[1][0].logprobs);
  EXPECT_NE(answers[1][0].logprobs, answers[2][0].logprobs);
}

// The weights are in memory once, in the file's size.
TEST_P(Quantised, WeightsTakeTheFilesMemory) {
  const std::filesystem::path path = file();
  const Model model = Model::load(path, DType::f32, WeightUse::inference);
  Arena arena;
  ThreadPool pool(1);
  Context ctx{.arena = arena, .threads = pool, .numerics = kQ8};
  model.pack(ctx);
  // kv_b_proj is f32 here, and panels are padded.
  int64_t more = 0;
  for (const Parameter& p : model.parameters()) {
    if (!p.frozen()) continue;
    const bool blocks = is_blocks(p.stored.format) && p.name.find("kv_b_proj") == std::string::npos;
    more += blocks ? bytes_of(p.stored.format, 15 * p.value.dim(1)) : 5 * p.value.count();
  }
  EXPECT_LE(model.held_bytes(), static_cast<int64_t>(std::filesystem::file_size(path)) + more);
  EXPECT_LE(model.weight_bytes(true), static_cast<int64_t>(std::filesystem::file_size(path)) + more);
  EXPECT_GT(model.weight_bytes(), 2 * model.weight_bytes(true));
}

// The numerics differ by the rounding of activations only.
TEST_P(Quantised, LogProbsAreNearThoseOfDequantisedWeights) {
  const Model model = Model::load(file(), DType::f32, WeightUse::inference);
  std::vector<int32_t> tokens;
  Random random(8);
  for (int i = 0; i < 60; ++i)
    tokens.push_back(static_cast<int32_t>(random.below(model.config().vocab_size)));
  const std::vector<ScoredRow> rows{{tokens, 1}};
  ThreadPool pool(2);
  std::vector<std::vector<float>> got;
  for (const Numerics numerics : {kQ8, Numerics::cpu_f32, kQ8}) {
    Lanes lanes(pool, numerics);
    got.push_back(score(model, lanes, rows, {.temperature = 1.0f, .micro_tokens = 100})[0]);
  }
  EXPECT_EQ(got[0], got[2]) << "back from dequantised panels";
  double error = 0, mean = 0, spread = 0;
  const auto n = static_cast<double>(got[0].size());
  for (const float logprob : got[1]) mean += logprob / n;
  for (size_t i = 0; i < got[0].size(); ++i) {
    error += std::fabs(double{got[0][i]} - got[1][i]) / n;
    spread += std::fabs(got[1][i] - mean) / n;
  }
  EXPECT_NE(got[0], got[1]);
  EXPECT_LT(error, 0.1 * spread) << "log-probs are " << mean << " on average";
}

INSTANTIATE_TEST_SUITE_P(Models, Quantised, testing::Values("llama", "deepseek2"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace r1::quantised_test
