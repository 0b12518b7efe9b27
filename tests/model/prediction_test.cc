// The MTP head: its logits are those of the reference (tests/ref/make_mtp_golden.py), and it leaves the model's
// own as they are.
#include "model/prediction.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/memory.h"
#include "model/model.h"
#include "ops/elementwise/elementwise.h"
#include "tests/model/golden_models.h"

namespace r1::prediction_test {
namespace {

namespace fs = std::filesystem;
const fs::path kMtp = fs::path(R1_SOURCE_DIR) / "tests/golden/models-mtp";
const fs::path kFp8 = fs::path(R1_SOURCE_DIR) / "tests/golden/models-fp8";

std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
  std::vector<float> out(static_cast<size_t>(file.find(name)->count()));
  read_as_f32(file, *file.find(name), out);
  return out;
}

void expect_close(std::span<const float> got, std::span<const float> want) {
  ASSERT_EQ(got.size(), want.size());
  const auto [low, high] = std::ranges::minmax(want);
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-5f * (high - low)) << i;
}

// The golden's two rows of tokens, and the model's outputs.
struct Golden {
  explicit Golden(WeightUse use)
      : model(Model::load(kMtp, DType::f32, use)), expected(kMtp / "expected.safetensors") {
    const TensorInfo& info = *expected.find("tokens");
    tokens.resize(static_cast<size_t>(info.count()));
    std::memcpy(tokens.data(), expected.bytes(info).data(), tokens.size() * 4);
    length = info.shape[1];
    const WholeBatch batch = whole_batch(rows(0));
    const KvCache kv(model.config(), batch.page_count, ctx);
    hidden = model.forward(ctx, batch.view(), kv);
  }
  // Tokens [first, length) of each row.
  std::vector<std::span<const int32_t>> rows(int64_t first) const {
    std::vector<std::span<const int32_t>> out;
    for (size_t i = 0; i < tokens.size(); i += static_cast<size_t>(length))
      out.push_back(
          std::span(tokens).subspan(i, static_cast<size_t>(length)).subspan(static_cast<size_t>(first)));
    return out;
  }
  // Rows of `hidden` at all positions but the last of each row.
  std::vector<int32_t> before_the_last() const {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < std::ssize(tokens); ++i)
      if ((i + 1) % length != 0) out.push_back(static_cast<int32_t>(i));
    return out;
  }

  Model model;
  SafetensorsFile expected;
  std::vector<int32_t> tokens;
  int64_t length = 0;
  Arena arena;
  ThreadPool threads{2};
  Context ctx{.arena = arena, .threads = threads};
  Tensor hidden;
};

TEST(Prediction, LogitsAreThoseOfTheReference) {
  Golden g(WeightUse::guessing);
  ASSERT_TRUE(g.model.predicts());
  EXPECT_TRUE(g.model.warnings().empty());
  expect_close(matmul(g.ctx, g.hidden, g.model.head(), DType::f32).values(), floats(g.expected, "logits"));
  const WholeBatch batch = whole_batch(g.rows(1));
  const KvCache kv(g.model.config(), batch.page_count, g.ctx);
  const Tensor x =
      g.model.predict(g.ctx, batch.view(), kv, gather_rows(g.ctx, g.hidden, g.before_the_last()));
  expect_close(g.model.predicted_logits(g.ctx, x).values(), floats(g.expected, "guesses"));

  // The second guess goes on from the first. It overwrites the key of position t + 1, so t falls.
  const std::vector<float> want = floats(g.expected, "chained");
  const int64_t V = g.model.config().vocab_size, T = g.length - 2;
  for (int64_t s = 0; s < 2; ++s) {
    for (int64_t t = T - 1; t >= 0; --t) {
      const int32_t token = g.tokens[static_cast<size_t>(s * g.length + t + 2)],
                    position = static_cast<int32_t>(t + 1);
      const std::vector<int32_t> offsets{0, 1};
      const Batch one{
          {&token, 1},
          {&position, 1},
          offsets,
          std::span(batch.pages)
              .subspan(static_cast<size_t>(s * batch.max_pages), static_cast<size_t>(batch.max_pages)),
          batch.max_pages};
      const Tensor next = g.model.predict(g.ctx, one, kv, x.part(s * (g.length - 1) + t, 1));
      expect_close(g.model.predicted_logits(g.ctx, next).values(),
                   std::span(want).subspan(static_cast<size_t>((s * T + t) * V), static_cast<size_t>(V)));
    }
  }
}

TEST(Prediction, TheModelsOutputsHaveTheSameBitsWithAndWithoutTheHead) {
  Golden with(WeightUse::guessing), without(WeightUse::inference);
  EXPECT_FALSE(without.model.predicts());
  EXPECT_TRUE(std::ranges::equal(with.hidden.values(), without.hidden.values()));
  ASSERT_EQ(without.model.warnings().size(), 1u);
  EXPECT_NE(without.model.warnings().front().find("layer 2 predicts further tokens"), std::string::npos);
  EXPECT_GT(with.model.parameter_count(), without.model.parameter_count());
}

TEST(Prediction, ABrokenHeadIsRefusedInOneLineThatSaysHowToDoWithoutIt) {
  try {
    Model::load(kFp8, DType::f32, WeightUse::guessing);
    FAIL() << "a head without hnorm was loaded";
  } catch (const Error& e) {
    const std::string why = e.what();
    EXPECT_NE(why.find("tensor model.layers.2.hnorm.weight is missing"), std::string::npos) << why;
    EXPECT_NE(why.find("(layer 2 is the MTP head; --lookahead 0 does without it)"), std::string::npos) << why;
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
  }
}

TEST(Prediction, ADeclaredHeadWithoutWeightsIsSaid) {
  const fs::path to = fs::temp_directory_path() / ("r1_prediction_" + std::to_string(::getpid()));
  fs::remove_all(to);
  fs::copy(test::kGoldenModels / "deepseek_v3-groups", to);
  Json json = read_json(to / "config.json");
  json.set("num_nextn_predict_layers", 1);
  write_file_atomically(to / "config.json", json.dump(2));
  const Model model = Model::load(to, DType::f32, WeightUse::guessing);
  EXPECT_FALSE(model.predicts());
  ASSERT_EQ(model.warnings().size(), 1u);
  EXPECT_EQ(model.warnings().front(),
            (to / "config.json").string() +
                ": num_nextn_predict_layers is 1, and the weights have no layer 2: guesses "
                "come from prompt look-up alone");
  for (const char* wrong : {"-1", "65", "0.5"}) {
    json.set("num_nextn_predict_layers", parse_json(wrong, "test"));
    write_file_atomically(to / "config.json", json.dump(2));
    EXPECT_THROW(load_model_config(to), Error) << wrong;
  }
  fs::remove_all(to);
}

// The head has weights and a layer of keys, which the estimates count.
TEST(Prediction, MemoryCountsTheHead) {
  ModelConfig config = load_model_config(kMtp);
  EXPECT_EQ(config.declared_prediction_layers, 1);
  const int64_t page = KvCache::bytes_per_page(config, DType::f32);
  const ModelMemory without = model_memory(config, Numerics::cpu_f32, DType::f32, WeightUse::inference);
  const SamplingShape shape{.tokens = 64, .sequences = 2, .prompt = 64, .keys = 96};
  const int64_t activations = sampling_activations(config, Numerics::cpu_f32, shape, 1);
  config.prediction_layers = 1;
  EXPECT_EQ(KvCache::bytes_per_page(config, DType::f32), page / config.layers * (config.layers + 1));
  const ModelMemory with = model_memory(config, Numerics::cpu_f32, DType::f32, WeightUse::inference);
  EXPECT_GT(with.packed, without.packed);
  EXPECT_GE(sampling_activations(config, Numerics::cpu_f32, shape, 1), activations);
}

}  // namespace
}  // namespace r1::prediction_test
