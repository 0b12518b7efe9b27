// The computed memory compared with the bytes that an arena really handed out, for every family and several
// shapes of batch.
#include "model/memory.h"

#include <functional>

#include "formats/json.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "tests/model/golden_models.h"

namespace r1::memory_test {
namespace {

using test::kGoldenModels;

struct Measured {
  int64_t backward = 0, score = 0;
};

// Marks all copies as stale, as a step of the optimizer does: every forward packs the weights anew.
void make_stale(Model& model) {
  for (Parameter& p : model.parameters()) ++p.version;
}

// Runs the work of a trainer and of `score` on rows of these lengths.
Measured measure(Model& model, Numerics numerics, std::span<const int64_t> rows, ThreadPool& threads) {
  std::vector<std::vector<int32_t>> tokens;
  for (const int64_t n : rows) {
    auto& row = tokens.emplace_back();
    for (int64_t i = 0; i <= n; ++i)
      row.push_back(static_cast<int32_t>((7 * i + n) % model.config().vocab_size));
  }
  std::vector<ScoredRow> scored;
  for (const auto& row : tokens) scored.push_back({row, 1});
  Measured out;
  {
    make_stale(model);
    Arena arena;
    Context ctx{.arena = arena, .threads = threads, .numerics = numerics};
    const ScoreBatch input = make_score_batch(scored);
    const KvCache kv(model.config(), input.batch.page_count, ctx);
    const Tensor entropy = arena.tensor({input.batch.view().T()});
    token_log_probs(ctx, model.forward(ctx, input.batch.view(), kv), model.head(), input.targets, 1.0f,
                    entropy);
    out.score = static_cast<int64_t>(arena.peak());
  }
  make_stale(model);
  Arena arena;
  Tape tape(arena);
  Context ctx{.arena = arena, .threads = threads, .tape = &tape, .numerics = numerics};
  const ScoreBatch input = make_score_batch(scored);
  const Batch batch = input.batch.view();
  const KvCache kv(model.config(), input.batch.page_count, ctx);
  RouterTraining routers;
  routers.balance_scale = 0.01f;
  const Tensor hidden = model.forward(ctx, batch, kv, routers);
  const Tensor logprobs = token_log_probs(ctx, hidden, model.head(), input.targets, 1.0f);
  for (float& g : tape.slot(logprobs).grad.values()) g = 1.0f;
  tape.backward(ctx);
  out.backward = static_cast<int64_t>(arena.peak());
  return out;
}

using Batches = std::vector<std::vector<int64_t>>;

void compare(Model& model, const std::string& name, Numerics numerics,
             std::initializer_list<int> thread_counts, const Batches& batches) {
  const ModelMemory memory = model_memory(model.config(), numerics, DType::f32);
  int64_t trainable = 0;
  for (const Parameter* p : model.trainable()) trainable += p->value.count();
  const int64_t table = model.config().max_positions * model.config().rope_width();
  EXPECT_EQ(memory.weights, 4 * (model.parameter_count() + table)) << name;
  EXPECT_EQ(memory.gradients, 4 * trainable) << name;
  EXPECT_GT(memory.packed, 0);
  model.allocate_gradients();
  for (const int count : thread_counts) {
    ThreadPool threads(count);
    for (const auto& rows : batches) {
      const Measured measured = measure(model, numerics, rows, threads);
      const std::string what = name + ", " + std::string(name_of(numerics)) + ", " +
                               std::to_string(rows.size()) + " rows, " + std::to_string(count) + " threads";
      std::vector<RowTokens> whole;
      for (const int64_t n : rows) whole.push_back({n});
      EXPECT_EQ(row_activations(model.config(), numerics, whole, {.backward = true, .balance = true}, count),
                measured.backward)
          << what << ", backward";
      EXPECT_EQ(row_activations(model.config(), numerics, whole, {.entropy = true}, count), measured.score)
          << what << ", score";
    }
  }
}

// Numerics of the same activation type take the same memory.
constexpr Numerics kBothTypes[] = {Numerics::cpu_f32, Numerics::cpu_bf16};

class MemoryOf : public testing::TestWithParam<const char*> {};

TEST_P(MemoryOf, ActivationsAreWhatTheArenaGives) {
  Model model = Model::load(kGoldenModels / GetParam());
  for (const Numerics numerics : kBothTypes) {
    compare(model, GetParam(), numerics, {1, 2, 3},
            {{3}, {40, 9, 17}, {64}, {50, 50, 50, 50, 50, 50, 31}, std::vector<int64_t>(64, 16)});
  }
}

TEST_P(MemoryOf, UsedModelsAreStoredInTheirType) {
  const Model model = Model::load(kGoldenModels / GetParam(), DType::bf16);
  const ModelConfig& config = model.config();
  const ModelMemory wide = model_memory(config, Numerics::cpu_f32, DType::f32);
  const ModelMemory memory = model_memory(config, Numerics::cpu_bf16, DType::bf16);
  EXPECT_EQ(memory.weights, model.weight_bytes() + 4 * config.max_positions * config.rope_width());
  EXPECT_LT(memory.packed, wide.packed);
  EXPECT_GE(2 * memory.packed, wide.packed);  // rows of odd length, and latent values stay f32
}

TEST_P(MemoryOf, ModelsForInferenceHoldEachMatrixOnce) {
  for (const Numerics numerics : kBothTypes) {
    const DType matrices = activation_dtype(numerics);
    const Model model = Model::load(kGoldenModels / GetParam(), matrices, WeightUse::inference);
    const ModelConfig& config = model.config();
    const ModelMemory memory = model_memory(config, numerics, matrices, WeightUse::inference);
    ThreadPool threads(1);
    Arena arena;
    Context ctx{.arena = arena, .threads = threads, .numerics = numerics};
    model.pack(ctx);
    const int64_t table = 4 * config.max_positions * config.rope_width();
    // A buffer is rounded up to 64 bytes.
    EXPECT_NEAR(static_cast<double>(memory.weights + memory.packed - table),
                static_cast<double>(model.held_bytes()),
                64.0 * static_cast<double>(model.parameters().size()));
    EXPECT_LT(memory.weights, model_memory(config, numerics, matrices).weights);
  }
}

INSTANTIATE_TEST_SUITE_P(GoldenModels, MemoryOf, testing::ValuesIn(test::kGoldenNames),
                         test::golden_test_name);

Model wide(const std::string& family, const std::function<void(Json&)>& change = {}) {
  Json json = Json::object();
  json.set("model_type", family).set("vocab_size", 3000).set("hidden_size", 352).set("head_dim", 40);
  json.set("intermediate_size", 700).set("moe_intermediate_size", 200).set("num_hidden_layers", 2);
  json.set("num_attention_heads", 8).set("num_key_value_heads", 4).set("first_k_dense_replace", 1);
  json.set("kv_lora_rank", 90).set("qk_nope_head_dim", 24).set("qk_rope_head_dim", 16).set("v_head_dim", 24);
  json.set("n_routed_experts", 4).set("num_experts_per_tok", 2).set("n_shared_experts", 2);
  json.set("n_group", 1).set("topk_group", 1);
  json.set("max_position_embeddings", 512).set("rms_norm_eps", 1e-6).set("rope_theta", 10000.0);
  if (family == "deepseek_v3") json.set("q_lora_rank", 330);
  if (change) change(json);
  return Model::create(read_model_config(parse_json(json.dump(), "wide")), 1);
}

// Widths at which products pack their operands and logits are computed in chunks.
TEST(Memory, WideModelsToo) {
  for (const std::string family : {"deepseek_v3", "qwen2", "llama", "qwen3"}) {
    Model model = wide(family);
    for (const Numerics numerics : kBothTypes) {
      compare(model, family, numerics, {2}, {{64}, {70, 30, 20}, std::vector<int64_t>(8, 70)});
    }
  }
}

// In bf16 numerics the backward rounds the weights of every expert that got a token into scratch.
TEST(Memory, ExpertsCountAtTheirWorst) {
  Model model = wide("deepseek_v3", [](Json& json) {
    json.set("n_routed_experts", 16).set("vocab_size", 64).set("moe_intermediate_size", 512);
  });
  model.allocate_gradients();
  ThreadPool threads(2);
  const std::vector<int64_t> rows(8, 20);
  const std::vector<RowTokens> whole(8, RowTokens{20});
  const auto real = [&] { return measure(model, Numerics::cpu_bf16, rows, threads).backward; };
  const int64_t estimate =
      row_activations(model.config(), Numerics::cpu_bf16, whole, {.backward = true, .balance = true}, 2);
  EXPECT_GE(estimate, real());
  for (Parameter* bias : model.selection_biases()) {
    if (bias == nullptr) continue;
    for (int64_t e = 2; e < bias->value.count(); ++e) bias->value.f32()[e] = -100.0f;  // all tokens to two
  }
  const int64_t expert = 512 * model.config().hidden_size * 4;
  const int64_t two = real();
  EXPECT_GT(estimate, two + expert);
  EXPECT_LE(estimate, two + 14 * (expert + 64));  // 64: the gap between an arena's blocks
}

// Published sizes are measured on any machine: nothing is held but the shapes and the lists of work.
TEST(Memory, A671BModelIsMeasuredWithoutItsMemory) {
  Json json = Json::object();
  json.set("model_type", "deepseek_v3").set("vocab_size", 129280).set("hidden_size", 7168);
  json.set("intermediate_size", 18432).set("moe_intermediate_size", 2048).set("num_hidden_layers", 61);
  json.set("num_attention_heads", 128).set("num_key_value_heads", 128).set("first_k_dense_replace", 3);
  json.set("q_lora_rank", 1536).set("kv_lora_rank", 512).set("qk_nope_head_dim", 128);
  json.set("qk_rope_head_dim", 64).set("v_head_dim", 128).set("n_routed_experts", 256);
  json.set("num_experts_per_tok", 8).set("n_shared_experts", 1).set("n_group", 8).set("topk_group", 4);
  json.set("max_position_embeddings", 163840).set("rms_norm_eps", 1e-6).set("rope_theta", 10000.0);
  const ModelConfig config = read_model_config(parse_json(json.dump(), "671B"));
  const ModelMemory memory = model_memory(config, Numerics::cpu_bf16, DType::bf16);
  constexpr double kParameters = 671.03e9;
  EXPECT_NEAR(static_cast<double>(memory.weights), 2 * kParameters, 0.001 * 2 * kParameters);
  EXPECT_NEAR(static_cast<double>(memory.gradients), 4 * kParameters, 0.001 * 4 * kParameters);
  const std::vector<RowTokens> rows(8, RowTokens{2048});
  const ActivationOptions training{.backward = true, .entropy = true, .balance = true};
  EXPECT_GT(row_activations(config, Numerics::cpu_bf16, rows, training, 64), int64_t{500} << 30);
  EXPECT_GT(sampling_activations(config, Numerics::cpu_bf16,
                                 {.tokens = 4096, .sequences = 256, .prompt = 512, .keys = 32768}, 64),
            int64_t{1} << 30);
}

}  // namespace
}  // namespace r1::memory_test
