// Whole models compared with transformers (fp32, CPU): logits, every parameter's gradient and greedy
// continuations, on the tiny checkpoints of tests/golden/models (made by tests/ref/make_model_goldens.py).
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>

#include "base/hash.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "tests/model/golden_models.h"

namespace r1::golden_test {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = test::kGoldenModels;

std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr) throw Error("no " + name);
  std::vector<float> out(static_cast<size_t>(info->count()));
  read_as_f32(file, *info, out);
  return out;
}

std::vector<int32_t> ints(const SafetensorsFile& file, const std::string& name) {
  const TensorInfo* info = file.find(name);
  std::vector<int32_t> out(static_cast<size_t>(info->count()));
  std::memcpy(out.data(), file.bytes(*info).data(), out.size() * 4);
  return out;
}

class Golden : public testing::TestWithParam<const char*> {
 protected:
  fs::path directory() const { return kGolden / GetParam(); }
  Arena arena;
  ThreadPool threads{2};
  Tape tape{arena};
};

// Bounds |got - want| as a share of the range of `want`.
void expect_close(std::span<const float> got, std::span<const float> want, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  const auto [low, high] = std::minmax_element(want.begin(), want.end());
  const double range = std::max(1e-6, static_cast<double>(*high) - static_cast<double>(*low));
  size_t worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(std::isfinite(got[i])) << what << "[" << i << "]";
    if (std::abs(got[i] - want[i]) > std::abs(got[worst] - want[worst])) worst = i;
  }
  EXPECT_LT(std::abs(got[worst] - want[worst]) / range, tolerance)
      << what << "[" << worst << "]: got " << got[worst] << " want " << want[worst] << " of a range of "
      << range;
}

TEST_P(Golden, LogitsGradientsAndGreedyAgreeWithTransformers) {
  Model model = Model::load(directory());
  const int64_t V = model.config().vocab_size;
  const SafetensorsFile expected(directory() / "expected.safetensors");
  const std::vector<int32_t> tokens = ints(expected, "tokens");
  const size_t length = static_cast<size_t>(expected.find("tokens")->shape[1]);
  const size_t count = tokens.size() / length;

  // Logits of all rows in one ragged batch.
  std::vector<std::span<const int32_t>> rows;
  std::vector<ScoredRow> scored;
  for (size_t i = 0; i < count; ++i) {
    rows.push_back(std::span(tokens).subspan(i * length, length));
    scored.push_back({rows.back(), 1});
  }
  {
    Context ctx{.arena = arena, .threads = threads};
    ArenaScope scope(arena);
    const WholeBatch batch = whole_batch(rows);
    const KvCache kv(model.config(), batch.page_count, ctx);
    const Tensor hidden = model.forward(ctx, batch.view(), kv);
    std::vector<float> logits(tokens.size() * static_cast<size_t>(V));
    matmul_into(ctx, hidden.f32(), static_cast<int64_t>(tokens.size()), model.head(), logits.data());
    expect_close(logits, floats(expected, "logits"), 1e-4, "logits");
  }

  // Loss and the gradient of every parameter.
  model.allocate_gradients();
  Context ctx{.arena = arena, .threads = threads, .tape = &tape};
  const ScoreBatch input = make_score_batch(scored);
  const KvCache kv(model.config(), input.batch.page_count, ctx);
  const Tensor hidden = model.forward(ctx, input.batch.view(), kv);
  const Tensor logprobs = token_log_probs(ctx, hidden, model.head(), input.targets, 1.0f);
  const double n = static_cast<double>(count * (length - 1));
  double loss = 0;
  const GradSlot slot = tape.slot(logprobs);
  for (int64_t t = 0; t < logprobs.count(); ++t) {
    loss -= static_cast<double>(logprobs.f32()[t]) / n;
    slot.grad.f32()[t] = static_cast<float>(-1.0 / n);
  }
  tape.backward(ctx);
  model.join_gradients(ctx);
  EXPECT_NEAR(loss, static_cast<double>(floats(expected, "loss")[0]), 1e-5);
  int64_t compared = 0;
  for (const Parameter& p : model.parameters()) {
    if (!p.trainable) continue;
    expect_close(p.grad.values(), floats(expected, "grad." + p.name), 1e-4, p.name);
    ++compared;
  }
  EXPECT_GE(compared, 20);
}

// Returns the gradients of every parameter for the summed log-probs of all rows.
using Gradients = std::vector<std::pair<std::string, std::vector<float>>>;
Gradients gradients(const fs::path& directory, int thread_count, int64_t micro) {
  Model model = Model::load(directory);
  model.allocate_gradients();
  const SafetensorsFile expected(directory / "expected.safetensors");
  const std::vector<int32_t> tokens = ints(expected, "tokens");
  const size_t length = static_cast<size_t>(expected.find("tokens")->shape[1]);
  std::vector<ScoredRow> rows;
  for (size_t i = 0; i < tokens.size() / length; ++i)
    rows.push_back({std::span(tokens).subspan(i * length, length - 5 * i), 1});  // the rows differ in length
  ThreadPool threads(thread_count);
  Lanes lanes(threads, Numerics::cpu_f32);
  differentiate(model, lanes, rows, {.micro_tokens = micro, .prompts = Prompts::repeated},
                [](const RowGradient& row) { std::ranges::fill(row.gradient, 1.0f); });
  Gradients out;
  for (const Parameter& p : model.parameters()) {
    if (p.trainable) out.push_back({p.name, {p.grad.values().begin(), p.grad.values().end()}});
  }
  return out;
}

void expect_equal(const Gradients& got, const Gradients& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(got[i].second == want[i].second) << got[i].first;
  }
}

TEST_P(Golden, GradientsDependNeitherOnThreadsNorOnMicroBatches) {
  const Gradients want = gradients(directory(), 1, 4096);
  expect_equal(gradients(directory(), 1, 1), want);
  expect_equal(gradients(directory(), 2, 1), want);
  expect_equal(gradients(directory(), 2, 60), want);
  expect_equal(gradients(directory(), 2, 4096), want);
}

// The bytes are equal across compilers, instruction sets and machines (scripts/arm64.sh runs on another
// machine). An intended change of the order of a sum changes these values; docs/log.md must record it.
TEST(GoldenGradients, AreTheseBytesWhateverCompiledThem) {
  const std::map<std::string, std::string> want = {
      {"deepseek_v3-groups", "65b3f29107c5309f881e5f9d2cdc0297ec5fad56c476c8472fd944eee962081a"},
      {"qwen2-tied", "d84bd3cedc459ae97cb48d7e4c6daabd70111f91d52a1ad400c9359f74599a5d"},
      {"qwen3-untied", "488f5e1f006664d5e55bece1b33ecdf5752c660404940108f53be1a9452f82d0"}};
  for (const auto& [name, hash] : want) {
    Sha256 sum;
    for (const auto& [parameter, values] : gradients(kGolden / name, 2, 4096))
      sum.update(std::as_bytes(std::span(values)));
    EXPECT_EQ(sum.hex(), hash) << name;
  }
}

TEST_P(Golden, SavesWhatItLoads) {
  const fs::path to = fs::temp_directory_path() / ("r1_model_test_" + std::to_string(::getpid()));
  fs::create_directories(to);
  const Model model = Model::load(directory());
  model.save(to, DType::f32);
  const Model again = Model::load(to);
  EXPECT_EQ(again.weights_sha256(), model.weights_sha256());
  EXPECT_EQ(to_json(again.config()).dump(), to_json(model.config()).dump());
  EXPECT_EQ(again.config().rope, model.config().rope);
  // No tensor of the checkpoint is lost or renamed.
  const SafetensorsFile before(directory() / "model.safetensors"), after(to / "model.safetensors");
  ASSERT_EQ(after.tensors().size(), before.tensors().size());
  for (const TensorInfo& info : before.tensors()) {
    ASSERT_NE(after.find(info.name), nullptr) << info.name;
    EXPECT_EQ(floats(after, info.name), floats(before, info.name)) << info.name;
  }
  fs::remove_all(to);
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(test::kGoldenNames), test::golden_test_name);

TEST(Model, CreateIsAFunctionOfTheSeed) {
  const ModelConfig config = Model::load(kGolden / "llama-biases").config();
  EXPECT_EQ(Model::create(config, 3).weights_sha256(), Model::create(config, 3).weights_sha256());
  EXPECT_NE(Model::create(config, 3).weights_sha256(), Model::create(config, 4).weights_sha256());
}

}  // namespace
}  // namespace r1::golden_test
