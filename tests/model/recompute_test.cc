// Activation checkpointing: the log-probs, gradients and routers' statistics of a backward that kept every
// activation, to the bit, and less memory, as estimated.
#include <map>

#include "base/random.h"
#include "formats/json.h"
#include "model/memory.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "tests/model/golden_models.h"

namespace r1::recompute_test {
namespace {

// Answers to a few prompts: some pages are shared, some rows are alone.
struct Answers {
  explicit Answers(const ModelConfig& config) {
    Random random(11);
    const auto token = [&] { return static_cast<int32_t>(random.between(2, config.vocab_size - 1)); };
    const std::pair<int64_t, std::vector<int64_t>> shape[] = {
        {9, {4, 30, 1}}, {33, {12, 5}}, {20, {8}}, {1, {6, 6}}, {40, {2, 9, 17, 3}}};
    for (const auto& [prompt, answers] : shape) {
      std::vector<int32_t> head;
      for (int64_t i = 0; i < prompt; ++i) head.push_back(token());
      for (const int64_t n : answers) {
        tokens.push_back(head);
        for (int64_t i = 0; i < n; ++i) tokens.back().push_back(token());
        from.push_back(prompt);
      }
    }
    for (size_t i = 0; i < tokens.size(); ++i) rows.push_back({tokens[i], from[i]});
  }
  std::vector<std::vector<int32_t>> tokens;
  std::vector<int64_t> from;
  std::vector<ScoredRow> rows;
};

struct Differentiated {
  std::vector<std::vector<float>> logprobs;
  std::map<std::string, std::vector<float>> gradients;
  std::vector<std::vector<int64_t>> selected;
  double balance_loss = 0;
  bool operator==(const Differentiated&) const = default;
};

struct Run {
  Numerics numerics = Numerics::cpu_f32;
  int threads = 1;
  int64_t micro = 1 << 20;
  bool recompute = false;
};

Differentiated differentiated(const char* name, const Run& run) {
  Model model = Model::load(test::kGoldenModels / name);
  model.allocate_gradients();
  const Answers answers(model.config());
  ThreadPool threads(run.threads);
  Lanes lanes(threads, run.numerics);
  Differentiated out;
  out.logprobs.resize(answers.rows.size());
  std::vector<MoeStats> stats(model.selection_biases().size());
  const RouterTraining routers{.balance_scale = 0.01f, .stats = &stats, .balance_loss = &out.balance_loss};
  differentiate(
      model, lanes, answers.rows, {.micro_tokens = run.micro, .recompute = run.recompute},
      [&](const RowGradient& row) {
        out.logprobs[row.row].assign(row.logprobs.begin(), row.logprobs.end());
        for (size_t t = 0; t < row.gradient.size(); ++t)
          row.gradient[t] = static_cast<float>(static_cast<int64_t>(row.row * 7 + t * 3) % 5 - 2);
      },
      routers);
  for (const Parameter& p : model.parameters()) {
    if (p.trainable) out.gradients[p.name] = {p.grad.values().begin(), p.grad.values().end()};
  }
  for (const MoeStats& s : stats) out.selected.push_back(s.selected);
  return out;
}

class ActivationCheckpointing : public testing::TestWithParam<const char*> {};

TEST_P(ActivationCheckpointing, ChangesNoBit) {
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    const Differentiated kept = differentiated(GetParam(), {.numerics = numerics});
    EXPECT_GT(kept.logprobs.front().size(), 0u);
    // All threads on each op, in one piece or several; threads side by side; one thread.
    for (const auto& [threads, micro] :
         {std::pair(1, 1 << 20), std::pair(3, 400), std::pair(2, 256), std::pair(1, 1)}) {
      const Differentiated again = differentiated(
          GetParam(), {.numerics = numerics, .threads = threads, .micro = micro, .recompute = true});
      EXPECT_EQ(again.logprobs, kept.logprobs) << name_of(numerics) << threads << " " << micro;
      EXPECT_EQ(again.selected, kept.selected);
      // The balance loss of several pieces is summed piece by piece, with or without checkpointing.
      if (micro == 1 << 20) {
        EXPECT_EQ(again.balance_loss, kept.balance_loss);
      }
      for (const auto& [name, values] : kept.gradients)
        EXPECT_TRUE(again.gradients.at(name) == values) << name << ", " << name_of(numerics);
    }
  }
}

// Peak bytes of the arena in the forward and backward of rows of these lengths.
int64_t measured_peak(Model& model, Numerics numerics, std::span<const int64_t> lengths, bool recompute,
                      ThreadPool& threads) {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<ScoredRow> rows;
  for (const int64_t n : lengths) tokens.emplace_back(static_cast<size_t>(n + 1), 3);
  for (const auto& row : tokens) rows.push_back({row, 1});
  for (Parameter& p : model.parameters()) ++p.version;  // packed copies become stale, as after an update
  Arena arena;
  Tape tape(arena), layer(arena);
  Context ctx{.arena = arena, .threads = threads, .tape = &tape, .numerics = numerics};
  const ScoreBatch input = make_score_batch(rows);
  const Batch batch = input.batch.view();
  const KvCache kv(model.config(), input.batch.page_count, ctx,
                   recompute ? KvCache::Layers::one : KvCache::Layers::all);
  const Tensor hidden = model.forward(ctx, batch, kv, {}, recompute ? &layer : nullptr);
  const Tensor logprobs = token_log_probs(ctx, hidden, model.head(), input.targets, 1.0f);
  for (float& g : tape.slot(logprobs).grad.values()) g = 1.0f;
  tape.backward(ctx);
  return static_cast<int64_t>(arena.peak());
}

TEST_P(ActivationCheckpointing, NeedsTheMemoryThatIsEstimated) {
  Model model = Model::load(test::kGoldenModels / GetParam());
  model.allocate_gradients();
  const std::vector<std::vector<int64_t>> batches = {{3}, {40, 9, 17}, std::vector<int64_t>(64, 16)};
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    for (const int count : {1, 2}) {
      ThreadPool threads(count);
      for (const auto& lengths : batches) {
        std::vector<RowTokens> shape;
        for (const int64_t n : lengths) shape.push_back({n});
        EXPECT_EQ(
            row_activations(model.config(), numerics, shape, {.backward = true, .recompute = true}, count),
            measured_peak(model, numerics, lengths, true, threads))
            << name_of(numerics) << ", " << count << " threads, " << lengths.size() << " rows";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(GoldenModels, ActivationCheckpointing, testing::ValuesIn(test::kGoldenNames),
                         test::golden_test_name);

TEST(ActivationCheckpointing, KeepsOneLayerAndTheInputsOfAll) {
  constexpr int64_t kLayers = 24, kTokens = 256, kWidth = 64;
  Json json = Json::object();
  json.set("model_type", "qwen3").set("vocab_size", 128).set("hidden_size", kWidth).set("head_dim", 16);
  json.set("intermediate_size", 192).set("num_hidden_layers", kLayers).set("num_attention_heads", 4);
  json.set("num_key_value_heads", 2).set("max_position_embeddings", 512).set("rms_norm_eps", 1e-6);
  json.set("rope_theta", 10000.0);
  const ModelConfig config = read_model_config(parse_json(json.dump(), "deep"));
  const std::vector<RowTokens> rows{{kTokens}};
  const auto peak = [&](const ModelConfig& of, bool recompute) {
    return row_activations(of, Numerics::cpu_f32, rows, {.backward = true, .recompute = recompute}, 1);
  };
  ModelConfig one = config;
  one.layers = 1;
  const int64_t inputs = kLayers * kTokens * kWidth * 4;
  EXPECT_LT(peak(config, true), peak(one, false) + inputs + inputs / 4);
  EXPECT_LT(4 * peak(config, true), peak(config, false));
  Model model = Model::create(config, 1);
  model.allocate_gradients();
  ThreadPool threads(1);
  EXPECT_EQ(measured_peak(model, Numerics::cpu_f32, std::vector<int64_t>{kTokens}, true, threads),
            peak(config, true));
}

}  // namespace
}  // namespace r1::recompute_test
