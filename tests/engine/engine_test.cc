// One forward: a sample's tokens and log-probs are equal with == for any batching, chunking and number of
// threads.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <tuple>

#include "base/random.h"
#include "formats/safetensors.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "tests/model/golden_models.h"

namespace r1::engine_test {
namespace {

const std::filesystem::path kGolden = test::kGoldenModels;

std::vector<Request> requests_for(const ModelConfig& config, uint64_t seed) {
  Random random(seed);
  std::vector<Request> list;
  for (uint32_t i = 0; i < 9; ++i) {
    Request& r = list.emplace_back();
    for (int64_t n = random.between(1, 40); n > 0; --n) {
      r.prompt.push_back(static_cast<int32_t>(random.between(2, config.vocab_size - 1)));
    }
    r.samples = random.between(1, 5);
    r.max_tokens = random.between(1, 40);
    r.sampling = {.temperature = i % 3 == 0 ? 0.0f : 0.8f,
                  .top_k = i % 2 == 0 ? 0 : 20,
                  .top_p = i % 4 == 1 ? 0.9f : 1.0f};
    if (i % 3 != 1) {  // settings that depend on the prompt and the answer so far
      r.sampling.repetition_penalty = 1.3f;
      r.sampling.presence_penalty = 0.2f;
      r.sampling.frequency_penalty = 0.1f;
      r.sampling.no_repeat_ngram = 3;
      r.sampling.min_new_tokens = 4;
      r.sampling.begin_suppress_tokens = {5, 6};
    }
    r.key = {.seed = 9, .step = 2, .prompt = i};
    r.stop_tokens = {1};
  }
  return list;
}

// Every architecture with every numerics of this machine.
class OneForward : public testing::TestWithParam<std::tuple<const char*, Numerics>> {
 protected:
  void SetUp() override {
    if (!machine_has(numerics())) {
      std::printf("SKIPPED, LOUDLY: this machine cannot run %s\n", name_of(numerics()).data());
      GTEST_SKIP();
    }
  }
  std::filesystem::path directory() const { return kGolden / std::get<0>(GetParam()); }
  Numerics numerics() const { return std::get<1>(GetParam()); }
  // Weights have the engine's type; a trainer holds an f32 master copy.
  Model load() const { return Model::load(directory(), activation_dtype(numerics())); }
};

std::string one_forward_name(const testing::TestParamInfo<std::tuple<const char*, Numerics>>& info) {
  std::string name =
      std::string(std::get<0>(info.param)) + "_" + std::string(name_of(std::get<1>(info.param)));
  std::ranges::replace(name, '-', '_');
  std::ranges::replace(name, '/', '_');
  return name;
}

std::vector<Completion> sample(const Model& model, int threads, EngineOptions options,
                               std::span<const Request> requests, Numerics numerics = Numerics::cpu_f32) {
  Arena arena;
  ThreadPool pool(threads);
  Context ctx{.arena = arena, .threads = pool, .tape = nullptr, .device = Device::cpu, .numerics = numerics};
  return Engine(model, ctx, options).run(requests);
}

TEST_P(OneForward, TokensAndLogProbsDoNotDependOnTheBatch) {
  const Model model = load();
  const std::vector<Request> requests = requests_for(model.config(), 1);
  const auto want =
      sample(model, 1, {.max_batch = 1, .prefill_chunk = 1000, .kv_bytes = 0}, requests, numerics());
  const int64_t page = KvCache::bytes_per_page(model.config(), row_of(numerics()).cache);
  for (const int threads : {1, 2, 3}) {
    for (const EngineOptions& options :
         {EngineOptions{.max_batch = 7, .prefill_chunk = 5, .kv_bytes = 0},
          EngineOptions{.max_batch = 64, .prefill_chunk = 1, .kv_bytes = 0},
          EngineOptions{.max_batch = 64, .prefill_chunk = 1000, .kv_bytes = 9 * page}}) {
      const auto got = sample(model, threads, options, requests, numerics());
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].tokens, want[i].tokens);
        EXPECT_EQ(got[i].logprobs, want[i].logprobs) << "sample " << i;
        EXPECT_EQ(got[i].finish, want[i].finish);
      }
    }
  }
}

TEST_P(OneForward, SamplingEqualsScoringToTheBit) {
  const Model model = load();
  std::vector<Request> requests = requests_for(model.config(), 2);
  const auto samples =
      sample(model, 2, {.max_batch = 16, .prefill_chunk = 7, .kv_bytes = 0}, requests, numerics());
  std::vector<std::vector<int32_t>> whole;
  for (const Completion& c : samples) {
    whole.push_back(requests[static_cast<size_t>(c.request)].prompt);
    whole.back().insert(whole.back().end(), c.tokens.begin(), c.tokens.end());
  }
  ThreadPool pool(2);
  Lanes lanes(pool, numerics());
  for (const int64_t micro : {1, 50, 400, 100000}) {  // all threads together, or side by side
    for (const float temperature : {0.8f, 1.0f}) {    // temperature 0 records temperature 1
      std::vector<ScoredRow> rows;
      std::vector<size_t> which;
      for (size_t i = 0; i < samples.size(); ++i) {
        const Request& r = requests[static_cast<size_t>(samples[i].request)];
        if ((r.sampling.temperature == 0 ? 1.0f : r.sampling.temperature) != temperature) continue;
        rows.push_back({whole[i], static_cast<int64_t>(r.prompt.size())});
        which.push_back(i);
      }
      const auto scored = score(model, lanes, rows, {.temperature = temperature, .micro_tokens = micro});
      for (size_t k = 0; k < rows.size(); ++k)
        EXPECT_EQ(scored[k], samples[which[k]].logprobs) << "sample " << which[k];
    }
  }
}

TEST_P(OneForward, TrainingEqualsSamplingToTheBit) {
  if (!has_gradients(numerics())) GTEST_SKIP() << "is for inference alone";
  const Model model = load();
  Model master = Model::load(directory());
  std::vector<Request> requests = requests_for(model.config(), 3);
  for (Request& r : requests) r.sampling.temperature = 0.8f;
  const auto samples =
      sample(model, 2, {.max_batch = 16, .prefill_chunk = 3, .kv_bytes = 0}, requests, numerics());
  std::vector<std::vector<int32_t>> whole;
  for (const Completion& c : samples) {
    whole.push_back(requests[static_cast<size_t>(c.request)].prompt);
    whole.back().insert(whole.back().end(), c.tokens.begin(), c.tokens.end());
  }
  std::vector<ScoredRow> rows;
  for (size_t i = 0; i < samples.size(); ++i)
    rows.push_back({whole[i], std::ssize(whole[i]) - std::ssize(samples[i].tokens)});
  for (const auto& [threads, micro] : {std::pair(1, 4096), std::pair(2, 100), std::pair(2, 4096)}) {
    ThreadPool pool(threads);
    Lanes lanes(pool, numerics());
    for (const Prompts prompts : {Prompts::repeated, Prompts::shared}) {
      std::vector<std::vector<float>> trained(rows.size());
      differentiate(
          master, lanes, rows, {.temperature = 0.8f, .micro_tokens = micro, .prompts = prompts},
          [&](const RowGradient& row) { trained[row.row].assign(row.logprobs.begin(), row.logprobs.end()); });
      for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(trained[i], samples[i].logprobs) << "sample " << i;
    }
  }
}

TEST_P(OneForward, GreedyContinuationIsTransformers) {
  if (numerics() != Numerics::cpu_f32) GTEST_SKIP() << "the golden is of f32";
  const Model model = load();
  const SafetensorsFile expected(directory() / "expected.safetensors");
  const auto ints = [&](const char* name) {
    const TensorInfo* info = expected.find(name);
    std::vector<int32_t> out(static_cast<size_t>(info->count()));
    std::memcpy(out.data(), expected.bytes(*info).data(), out.size() * 4);
    return out;
  };
  const std::vector<int32_t> tokens = ints("tokens");
  Request r;
  r.prompt.assign(tokens.begin(), tokens.begin() + 3);
  r.max_tokens = 24;
  r.sampling.temperature = 0;
  EXPECT_EQ(sample(model, 2, {}, {&r, 1})[0].tokens, ints("greedy"));
}

INSTANTIATE_TEST_SUITE_P(Models, OneForward,
                         testing::Combine(testing::ValuesIn(test::kGoldenNames),
                                          testing::Values(Numerics::cpu_f32, Numerics::cpu_bf16,
                                                          Numerics::cpu_avx512bf16, Numerics::cpu_f32_kv_bf16,
                                                          Numerics::cpu_f32_kv_q8, Numerics::cpu_bf16_kv_q8)),
                         one_forward_name);

TEST(Engine, StopsEndsAndStreams) {
  const Model model = Model::load(kGolden / "llama-biases");
  Arena arena;
  ThreadPool pool(1);
  Context ctx{.arena = arena, .threads = pool};
  Engine engine(model, ctx, {});
  Request r;
  r.prompt = {5, 6};
  r.max_tokens = 50;
  r.samples = 3;
  int64_t streamed = 0, done = 0;
  auto out = engine.run(
      {&r, 1}, [&](int64_t, int64_t, int32_t) { return ++streamed, true; },
      [&](const Completion&) { ++done; });
  EXPECT_EQ(streamed, 150);
  EXPECT_EQ(done, 3);
  for (const Completion& c : out) EXPECT_EQ(c.finish, FinishReason::length);
  r.stop_tokens = {out[0].tokens[4]};
  out = engine.run({&r, 1});
  EXPECT_EQ(out[0].finish, FinishReason::stop);
  EXPECT_LE(out[0].tokens.size(), 5u);
  EXPECT_EQ(out[0].tokens.back(), r.stop_tokens[0]);
  // A listener that returns false ends only its own sample.
  r.stop_tokens.clear();
  out = engine.run({&r, 1}, [&](int64_t, int64_t s, int32_t) { return s != 1; });
  EXPECT_EQ(out[1].tokens.size(), 1u);
  EXPECT_EQ(out[2].tokens.size(), 50u);
  // The model's context bounds an answer.
  r.max_tokens = 100000;
  r.samples = 1;
  EXPECT_EQ(engine.run({&r, 1})[0].tokens.size(), static_cast<size_t>(model.config().max_positions) - 2);
}

TEST(Engine, RefusesWhatDoesNotFit) {
  const Model model = Model::load(kGolden / "llama-biases");
  Arena arena;
  ThreadPool pool(1);
  Context ctx{.arena = arena, .threads = pool};
  Request r;
  r.prompt.assign(65, 3);
  EXPECT_THROW(Engine(model, ctx, {}).run({&r, 1}), Error);
  r.prompt = {41};
  EXPECT_THROW(Engine(model, ctx, {}).run({&r, 1}), Error);
  r.prompt = {3};
  r.max_tokens = 60;
  EngineOptions tight;
  tight.kv_bytes = 1;
  EXPECT_THROW(Engine(model, ctx, tight).run({&r, 1}), Error);
}

TEST(Engine, BrokenWeightsAreAnErrorNotAnAnswer) {
  Model model = Model::load(kGolden / "llama-biases");
  model.parameters()[3].value.f32()[0] = NAN;
  Arena arena;
  ThreadPool pool(1);
  Context ctx{.arena = arena, .threads = pool};
  Request r;
  r.prompt = {3};
  EXPECT_THROW(Engine(model, ctx, {}).run({&r, 1}), Error);
}

// Two threads share 300 sequences, so each has more than pass through the model at a time. If the batch has
// no place for all sequences, the threads meet at every token. A listener gets every token, in order.
TEST(Engine, PartsLargerThanAPassOrShortOfPlacesChangeNoBit) {
  const Model model = Model::load(kGolden / "llama-biases");
  std::vector<Request> requests = requests_for(model.config(), 2);
  for (Request& r : requests) {
    r.samples = 300 / std::ssize(requests);
    r.max_tokens = 12;
  }
  const auto want = sample(model, 1, {.max_batch = 1, .prefill_chunk = 64, .kv_bytes = 0}, requests);
  for (const int64_t batch : {300, 40}) {
    const auto got = sample(model, 2, {.max_batch = batch, .prefill_chunk = 64, .kv_bytes = 0}, requests);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].tokens, want[i].tokens);
      EXPECT_EQ(got[i].logprobs, want[i].logprobs);
    }
  }
  Arena arena;
  ThreadPool pool(2);
  Context ctx{.arena = arena, .threads = pool};
  std::map<std::pair<int64_t, int64_t>, std::vector<int32_t>> read;
  Engine engine(model, ctx, {.max_batch = 300, .prefill_chunk = 64, .kv_bytes = 0});
  engine.run(requests, [&](int64_t request, int64_t sample, int32_t token) {
    read[{request, sample}].push_back(token);
    return true;
  });
  for (const Completion& c : want) EXPECT_EQ((read[{c.request, c.sample}]), c.tokens);
}

// A server learns of its requests one by one.
TEST(Engine, RequestsThatComeOneByOneMoveTheCacheSeldomAndChangeNoBit) {
  const Model model = Model::load(kGolden / "llama-biases");
  std::vector<Request> requests(48);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt = {static_cast<int32_t>(3 + i % 5), 4, 5, 6};
    requests[i].max_tokens = 30;
    requests[i].key.prompt = static_cast<uint32_t>(i);
  }
  const auto want = sample(model, 1, {.max_batch = 1, .prefill_chunk = 64, .kv_bytes = 0}, requests);
  Arena arena;
  ThreadPool pool(2);
  Context ctx{.arena = arena, .threads = pool};
  Engine engine(model, ctx, {.max_batch = 48, .prefill_chunk = 64, .kv_bytes = 0});
  std::map<Engine::RequestId, size_t> index;
  std::vector<int64_t> sizes;
  size_t ended = 0;
  for (size_t next = 0; ended < requests.size();) {
    if (next < requests.size()) index[engine.submit(requests[next])] = next, ++next;
    for (const Completion& c : engine.step(1).ended) {
      ++ended;
      EXPECT_EQ(c.tokens, want[index.at(c.request)].tokens);
      EXPECT_EQ(c.logprobs, want[index.at(c.request)].logprobs);
    }
    if (sizes.empty() || sizes.back() != engine.kv_bytes()) sizes.push_back(engine.kv_bytes());
  }
  EXPECT_LE(sizes.size(), 7u);  // 2, 4, 8, .. sequences
}

TEST(Engine, BrokenWeightsAreAnErrorInPartsToo) {
  Model model = Model::load(kGolden / "llama-biases");
  Arena arena;
  ThreadPool pool(2);
  Context ctx{.arena = arena, .threads = pool};
  Request r;
  r.prompt = {3};
  r.samples = 64;
  Engine engine(model, ctx, {});
  // Changes the embedding of every token except the prompt's, so that the first token is drawn and the
  // second, in parts, is not.
  const Tensor& embedding = model.parameters()[0].value;
  for (int64_t row = 0; row < embedding.dim(0); ++row) {
    if (row != 3) embedding.f32()[row * embedding.dim(1)] = NAN;
  }
  EXPECT_THROW(engine.run({&r, 1}), Error);
}

TEST(Engine, PartsOfABatchTakeTheMemoryThatIsTold) {
  const Model model = Model::load(kGolden / "llama-biases");
  for (const int64_t prompt : {2, 32}) {  // with 16 tokens or more, samples pass over its keys together
    Request r;
    r.prompt.assign(static_cast<size_t>(prompt), 4);
    r.samples = 24;
    r.max_tokens = 42 - prompt;
    for (const int threads : {1, 2, 3}) {
      Arena arena;
      ThreadPool pool(threads);
      Context ctx{.arena = arena, .threads = pool};
      Engine engine(model, ctx, {});
      engine.run({&r, 1});
      const SamplingShape sampler{.tokens = 24, .sequences = 24, .prompt = prompt, .keys = 42};
      const auto told = static_cast<double>(part_activations(model.config(), ctx.numerics, sampler, pool));
      EXPECT_GE(told, 0.95 * static_cast<double>(engine.part_bytes())) << threads << " threads";
      EXPECT_LE(told, 1.2 * static_cast<double>(engine.part_bytes())) << threads << " threads";
      EXPECT_EQ(engine.part_bytes() > 0, threads > 1);
    }
  }
}

TEST(Engine, LoopsAreSeen) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 400; ++i) tokens.push_back(i % 7);
  EXPECT_TRUE(is_looping(tokens));
  tokens.back() = 99;
  EXPECT_FALSE(is_looping(tokens));
  EXPECT_FALSE(is_looping(std::span(tokens).first(100)));
}

}  // namespace
}  // namespace r1::engine_test
