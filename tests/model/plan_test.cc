// The arithmetic of r1 plan against published figures and against models that are really made.
#include "model/plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/known_models.h"
#include "model/model.h"
#include "model/quantize_plan.h"
#include "model/training_cost.h"

namespace r1::plan_test {
namespace {

ModelConfig known(const char* name) {
  const auto config = known_model(name);
  EXPECT_TRUE(config) << name;
  return *config;
}

TEST(KnownModels, HaveThePublishedNumbersOfParameters) {
  const std::pair<const char*, double> published[] = {{"DeepSeek-R1", 671e9},
                                                      {"DeepSeek-R1-Distill-Qwen-1.5B", 1.777e9},
                                                      {"DeepSeek-R1-Distill-Qwen-7B", 7.616e9},
                                                      {"deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", 14.77e9},
                                                      {"deepseek-r1-distill-qwen-32b", 32.76e9},
                                                      {"DeepSeek-R1-Distill-Llama-8B", 8.030e9},
                                                      {"DeepSeek-R1-Distill-Llama-70B", 70.55e9}};
  EXPECT_EQ(known_model_names().size(), std::size(published));
  for (const auto& [name, count] : published)
    EXPECT_NEAR(static_cast<double>(model_sizes(known(name)).all) / count, 1, 0.001) << name;
  // "37B activated" counts the embedding's table.
  EXPECT_NEAR(static_cast<double>(model_sizes(known("DeepSeek-R1")).active) / 37e9, 1, 0.02);
  EXPECT_FALSE(known_model("deepseek-ai/DeepSeek-R2"));
}

TEST(Plan, BytesPerTokenOfContextAreKnownOnes) {
  // 2 x 28 layers x 2 heads x 128 in 16 bits; latent 512 + 64 in 61 layers.
  EXPECT_EQ(kv_bytes_per_token(known("DeepSeek-R1-Distill-Qwen-1.5B"), DType::bf16), 2 * 28 * 2 * 128 * 2);
  EXPECT_EQ(kv_bytes_per_token(known("DeepSeek-R1"), DType::bf16), 61 * 576 * 2);
}

TEST(Plan, AStepReadsLiveExpertsOnce) {
  const ModelConfig config = known("DeepSeek-R1");
  const ModelSizes sizes = model_sizes(config);
  const HeldMatrices held = held_matrices(config, Numerics::cpu_bf16, uniform_formats(DType::bf16));
  const double one = step_weight_bytes(config, held, 1), many = step_weight_bytes(config, held, 4096);
  // Panels are padded to 32 rows: kv_a_proj has 576, and the router has 256.
  EXPECT_NEAR(one / 2 / static_cast<double>(sizes.active - sizes.embedding), 1, 1e-3);
  EXPECT_NEAR(many / 2 / static_cast<double>(sizes.all - sizes.embedding), 1, 1e-3);
  const ModelConfig dense = known("DeepSeek-R1-Distill-Qwen-7B");
  const HeldMatrices same = held_matrices(dense, Numerics::cpu_bf16, uniform_formats(DType::bf16));
  EXPECT_EQ(step_weight_bytes(dense, same, 1), step_weight_bytes(dense, same, 64));
}

TEST(Plan, TheLargestContextFitsAndTheNextPageDoesNot) {
  const ModelConfig config = known("DeepSeek-R1-Distill-Qwen-1.5B");
  const WeightFormats formats = uniform_formats(DType::bf16);
  const auto total = [&](int64_t context) {
    return context_memory(config, Numerics::cpu_bf16, formats, context, 2048, 2).total();
  };
  const int64_t memory = total(20'000);
  const int64_t longest = largest_context(config, Numerics::cpu_bf16, formats, memory, 2048, 2);
  EXPECT_LE(total(longest), memory);
  EXPECT_GT(total(longest + 256), memory);
  EXPECT_EQ(largest_context(config, Numerics::cpu_bf16, formats, int64_t{1} << 50, 2048, 2),
            config.max_positions);
  EXPECT_EQ(largest_context(config, Numerics::cpu_bf16, formats, int64_t{1} << 30, 2048, 2), 0);
}

TEST(Plan, ANoiseModelHoldsWhatThePlanSays) {
  ModelConfig config = known("DeepSeek-R1-Distill-Qwen-1.5B");
  config.layers = 2;
  config.vocab_size = 512;
  config.max_positions = 256;
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    const Model model = Model::of_noise(config, activation_dtype(numerics));
    ThreadPool threads(1);
    Arena arena;
    Context ctx{.arena = arena, .threads = threads, .numerics = numerics};
    model.pack(ctx);
    const int64_t rope = config.max_positions * config.head_dim * 4;
    EXPECT_EQ(
        model.held_bytes() + rope,
        context_memory(config, numerics, uniform_formats(activation_dtype(numerics)), 256, 256, 1).weights);
    EXPECT_TRUE(model.frozen());
  }
}

// The mixtures of llama.cpp have these sizes for Qwen2.5-1.5B's shape with a head of its own, in bytes of tensors.
TEST(Plan, QuantisedSizesAreThoseOfTheFilesThatAreMade) {
  const ModelConfig config = known("DeepSeek-R1-Distill-Qwen-1.5B");
  const auto size = [&](const char* type) {
    return file_bytes(config, quantised_formats(config, quantize_preset(type, "--type")));
  };
  const ModelSizes sizes = model_sizes(config);
  const int64_t vectors = (sizes.all - sizes.matrices) * 4;
  EXPECT_EQ(size("Q8_0"), sizes.matrices / 32 * 34 + vectors);
  const int64_t head = config.vocab_size * config.hidden_size;  // in Q6_K
  EXPECT_EQ(size("Q4_0"), (sizes.matrices - head) / 32 * 18 + head / 256 * 210 + vectors);
  double before = 1e18;
  for (const TypeSize& type : type_sizes(config)) {
    EXPECT_NEAR(static_cast<double>(type.bytes) * 8 / static_cast<double>(sizes.all), type.bits, 1e-9);
    if (type.name == "FP8") continue;  // is smaller than Q8_0, which is more exact for most weights
    EXPECT_LT(static_cast<double>(type.bytes), before) << type.name << " is no smaller than the one before";
    before = static_cast<double>(type.bytes);
  }
}

TEST(Plan, AQuantisedModelTakesItsFilesBytesAndItsKeysThoseOfTheirType) {
  ModelConfig config = known("DeepSeek-R1-Distill-Qwen-1.5B");
  config.layers = 3;
  config.vocab_size = 512;
  config.max_positions = 256;
  for (const char* type : {"Q8_0", "Q4_0", "Q4_K_M", "IQ4_XS"}) {
    const WeightFormats formats = quantised_formats(config, quantize_preset(type, "--type"));
    EXPECT_TRUE(formats.has_blocks());
    const Model model = Model::of_noise(config, DType::f32, &formats);
    ThreadPool threads(1);
    Arena arena;
    Context ctx{.arena = arena, .threads = threads, .numerics = Numerics::cpu_q8act};
    model.pack(ctx);
    const int64_t rope = config.max_positions * config.head_dim * 4;
    const ContextMemory memory = context_memory(config, Numerics::cpu_q8act, formats, 256, 256, 1);
    EXPECT_EQ(model.held_bytes() + rope, memory.weights) << type;
    EXPECT_NEAR(static_cast<double>(memory.weights - rope) / static_cast<double>(file_bytes(config, formats)),
                1, 0.01)
        << type;
    const HeldMatrices held = held_matrices(config, Numerics::cpu_q8act, formats);
    int64_t all = 0, embedding = 0;
    model.each_held([&](const Parameter& p, int64_t bytes) {
      all += bytes;
      if (p.name == "model.embed_tokens.weight") embedding = bytes;
    });
    EXPECT_EQ(held.all, all);
    EXPECT_EQ(held.embedding, embedding);
    EXPECT_EQ(held.routed, 0);
  }
  const int64_t bf16 = kv_bytes_per_token(config, DType::bf16), q8 = kv_bytes_per_token(config, DType::q8);
  EXPECT_EQ(bf16, 3 * 2 * 2 * 128 * 2);
  EXPECT_EQ(q8, 3 * 2 * 2 * (128 + 4));
  const WeightFormats formats = quantised_formats(config, quantize_preset("Q4_0", "--type"));
  const auto memory = [&](Numerics numerics) {
    return context_memory(config, numerics, formats, 256, 256, 1);
  };
  EXPECT_EQ(memory(Numerics::cpu_q8act).cache, 256 * bf16);
  EXPECT_EQ(memory(Numerics::cpu_q8act_kv_q8).cache, 256 * q8);
}

TEST(Plan, QuantisingIsRefusedIfNoMatrixFits) {
  ModelConfig config = known("DeepSeek-R1-Distill-Qwen-1.5B");
  config.hidden_size = 36;
  config.intermediate_size = 20;
  config.head_dim = 12;
  config.heads = 3;
  config.kv_heads = 1;
  EXPECT_THROW(quantised_formats(config, quantize_preset("Q4_K_M", "--type")), Error);
  for (const TypeSize& type : type_sizes(config))
    EXPECT_LE(type.name.size(), 4u) << "F32, BF16 and FP8 are left";
}

TEST(TrainingCost, IsWithinAFifthOfThePublishedHours) {
  const TrainingCost cost = deepseek_r1_cost(known("DeepSeek-R1"), {});
  const auto expect_near = [](double hours, double published, const char* what) {
    EXPECT_LT(std::fabs(hours / published - 1), 0.2) << what << ": " << hours << " computed, " << published;
  };
  expect_near(cost.v3_hours(), kPublishedV3Hours, "V3");
  expect_near(cost.pretraining_hours(), kPublishedPretrainingHours, "pre-training");
  expect_near(cost.r1_hours(), kPublishedR1Hours, "R1");
  EXPECT_FALSE(cost.left_out.empty() || cost.assumed.empty());
}

TEST(TrainingCost, FollowsFromItsInputs) {
  const ModelConfig config = known("DeepSeek-R1");
  const double base = deepseek_r1_cost(config, {}).pretraining_hours();
  EXPECT_NEAR(deepseek_r1_cost(config, {.utilisation = 0.2}).pretraining_hours(), 2 * base, base * 1e-9);
  ModelConfig half = config;
  half.layers = 31;
  EXPECT_LT(deepseek_r1_cost(half, {}).pretraining_hours(), 0.6 * base);
}

}  // namespace
}  // namespace r1::plan_test
