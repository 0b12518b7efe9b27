// Value models: one number per token from the trunk of a model that samples.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <map>

#include "base/file.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/memory.h"
#include "model/scoring.h"
#include "tests/model/golden_models.h"

namespace r1::value_model_test {
namespace {

class ValueModel : public testing::TestWithParam<const char*> {
 protected:
  ValueModel() : trunk(Model::load(test::kGoldenModels / GetParam())), model(Model::value_model(trunk)) {}

  Parameter& head() {
    for (Parameter& p : model.parameters()) {
      if (p.name == "score.weight") return p;
    }
    throw Error("no score.weight");
  }
  void draw_head() {
    Random random(3);
    for (float& w : head().value.values()) w = static_cast<float>(random.normal());
    ++head().version;
  }
  std::vector<std::vector<int32_t>> some_rows() const {
    Random random(5);
    std::vector<std::vector<int32_t>> rows(4);
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t t = 0; t < 5 + 9 * i; ++t)
        rows[i].push_back(static_cast<int32_t>(random.between(2, model.config().vocab_size - 1)));
    }
    return rows;
  }

  Model trunk, model;
};

TEST_P(ValueModel, HasTheTrunksWeightsAndAHeadOfZeros) {
  std::map<std::string, const Parameter*> of_trunk;
  for (const Parameter& p : trunk.parameters()) of_trunk[p.name] = &p;
  for (const Parameter& p : model.parameters()) {
    if (p.name == "score.weight") {
      EXPECT_EQ(p.value.shape, (Shape{1, model.config().hidden_size}));
      for (const float w : p.value.values()) EXPECT_EQ(w, 0.0f);
      continue;
    }
    ASSERT_TRUE(of_trunk.contains(p.name)) << p.name;
    const auto want = of_trunk[p.name]->value.values(), got = p.value.values();
    EXPECT_TRUE(std::ranges::equal(got, want)) << p.name;
  }
  for (const Parameter& p : model.parameters()) EXPECT_NE(p.name, "lm_head.weight");
  ThreadPool threads(1);
  Lanes lanes(threads, Numerics::cpu_f32);
  const auto tokens = some_rows();
  const std::vector<ScoredRow> rows{{tokens[3], 2}};
  const auto values = score(model, lanes, rows, {});
  EXPECT_EQ(values[0], std::vector<float>(tokens[3].size() - 2));
}

// The value before token p is the head's product with the hidden state of position p - 1, however the rows are
// batched.
TEST_P(ValueModel, GivesTheHeadsProductWithTheHiddenState) {
  draw_head();
  const auto tokens = some_rows();
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32);
  std::vector<ScoredRow> rows;
  for (const auto& row : tokens) rows.push_back({row, 2});
  const auto values = score(model, lanes, rows, {});
  const auto apart = score(model, lanes, rows, {.micro_tokens = 1, .prompts = Prompts::repeated});
  EXPECT_EQ(values, apart);
  for (size_t i = 0; i < rows.size(); ++i) {
    Arena arena;
    Context ctx{.arena = arena, .threads = threads};
    const std::vector<WholeRow> whole{{tokens[i]}};
    const WholeBatch batch = whole_batch(whole);
    const KvCache kv(model.config(), batch.page_count, ctx);
    const Tensor hidden = trunk.forward(ctx, batch.view(), kv);
    ASSERT_EQ(values[i].size(), tokens[i].size() - 2);
    for (size_t t = 0; t < values[i].size(); ++t) {
      double want = 0, size = 0;
      const auto row = hidden.part(static_cast<int64_t>(t) + 1, 1);
      for (int64_t d = 0; d < model.config().hidden_size; ++d) {
        const double term = static_cast<double>(row.f32()[d]) * static_cast<double>(head().value.f32()[d]);
        want += term;
        size += std::fabs(term);
      }
      EXPECT_NEAR(static_cast<double>(values[i][t]), want, 1e-6 * size) << "row " << i << " token " << t;
    }
  }
}

// The derivative of sum of c_t V_t along a direction in the space of all weights, by central differences.
TEST_P(ValueModel, HasTheGradientOfItsDifferences) {
  draw_head();
  model.allocate_gradients();
  const auto tokens = some_rows();
  std::vector<ScoredRow> rows;
  for (const auto& row : tokens) rows.push_back({row, 2});
  ThreadPool threads(1);
  Lanes lanes(threads, Numerics::cpu_f32);
  const auto weight = [](size_t row, size_t t) { return static_cast<float>((row * 5 + t * 3) % 7) - 3.0f; };
  differentiate(model, lanes, rows, {}, [&](const RowGradient& row) {
    for (size_t t = 0; t < row.gradient.size(); ++t) row.gradient[t] = weight(row.row, t);
  });
  const auto sum = [&] {
    double total = 0;
    const auto values = score(model, lanes, rows, {});
    for (size_t i = 0; i < values.size(); ++i) {
      for (size_t t = 0; t < values[i].size(); ++t)
        total += static_cast<double>(weight(i, t)) * static_cast<double>(values[i][t]);
    }
    return total;
  };
  // Experts may change with the router's weights, which is a jump: those of mixtures stay.
  const bool mixture = model.config().has_experts();
  int heads = 0;
  for (Parameter& p : model.parameters()) {
    const bool is_head = p.name == "score.weight";
    heads += is_head;
    if (!p.trainable || (mixture && !is_head)) continue;
    double slope = 0, size = 0;
    Random random(p.value.count());
    std::vector<float> direction;
    for (const float w : p.value.values()) size += static_cast<double>(w) * static_cast<double>(w);
    for (int64_t i = 0; i < p.value.count(); ++i) {
      direction.push_back(static_cast<float>(random.normal()));
      slope += static_cast<double>(direction.back()) * static_cast<double>(p.grad.f32()[i]);
    }
    const float step =
        static_cast<float>(2e-3 * std::sqrt(size / static_cast<double>(p.value.count())) + 1e-4);
    const std::vector<float> before(p.value.values().begin(), p.value.values().end());
    const auto moved = [&](float by) {
      for (int64_t i = 0; i < p.value.count(); ++i)
        p.value.f32()[i] = before[static_cast<size_t>(i)] + by * direction[static_cast<size_t>(i)];
      ++p.version;
      return sum();
    };
    const double difference = (moved(step) - moved(-step)) / (2 * static_cast<double>(step));
    moved(0);
    double gradient = 0;
    for (const float g : p.grad.values()) gradient += static_cast<double>(g) * static_cast<double>(g);
    EXPECT_NEAR(slope, difference, 0.02 * std::sqrt(gradient) + 0.02) << p.name;
  }
  EXPECT_EQ(heads, 1);
}

TEST_P(ValueModel, IsSavedAsTransformersModelOfOneLabel) {
  draw_head();
  const auto folder =
      std::filesystem::temp_directory_path() / fmt::format("r1_value_{}_{}", ::getpid(), GetParam());
  std::filesystem::create_directories(folder);
  model.save(folder, DType::f32);
  const Json config = read_json(folder / "config.json");
  EXPECT_TRUE(config.at("architectures").items().front().string().ends_with("ForSequenceClassification"));
  EXPECT_EQ(config.at("id2label").members().size(), 1u);
  EXPECT_FALSE(config.get_bool("tie_word_embeddings"));
  EXPECT_TRUE(load_model_config(folder).value_head);
  const Model again = Model::load_value_model(folder);
  EXPECT_EQ(again.weights_sha256(), model.weights_sha256());
  EXPECT_FALSE(load_model_config(test::kGoldenModels / GetParam()).value_head);
  const auto refused = [](const auto& load) -> std::string {
    try {
      load();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(refused([&] { Model::load(folder); }).find("is of a value model"), std::string::npos);
  EXPECT_NE(refused([&] {
              Model::load_value_model(test::kGoldenModels / GetParam());
            }).find("is not of a value model"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST_P(ValueModel, NeedsTheMemoryThatIsEstimated) {
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    ThreadPool threads(1);
    Lanes lanes(threads, numerics);
    model.allocate_gradients();
    for (Parameter& p : model.parameters()) ++p.version;
    const std::vector<std::vector<int32_t>> tokens(3, std::vector<int32_t>(31, 3));
    std::vector<ScoredRow> rows;
    for (const auto& row : tokens) rows.push_back({row, 1});
    differentiate(model, lanes, rows, {.prompts = Prompts::repeated},
                  [](const RowGradient& row) { std::ranges::fill(row.gradient, 1.0f); });
    const std::vector<RowTokens> shape(3, RowTokens{30});
    const int64_t estimate =
        row_activations(model.config(), numerics, shape, {.backward = true}, threads.size());
    EXPECT_NEAR(static_cast<double>(estimate), static_cast<double>(lanes.peak()),
                0.02 * static_cast<double>(estimate));
    EXPECT_LT(model_memory(model.config(), numerics, DType::f32).gradients,
              model_memory(trunk.config(), numerics, DType::f32).gradients +
                  model_memory(trunk.config(), numerics, DType::f32).row_gradients +
                  4 * model.config().hidden_size + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(GoldenModels, ValueModel, testing::ValuesIn(test::kGoldenNames),
                         test::golden_test_name);

}  // namespace
}  // namespace r1::value_model_test
