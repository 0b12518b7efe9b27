// The arithmetic of r1 plan against published figures and against models that are really made.
#include "model/plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/known_models.h"
#include "model/model.h"
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
  const double one = step_weight_bytes(config, sizes, 8, 1), many = step_weight_bytes(config, sizes, 8, 4096);
  EXPECT_NEAR(one / static_cast<double>(sizes.active - sizes.embedding), 1, 1e-9);
  EXPECT_NEAR(many / static_cast<double>(sizes.all - sizes.embedding), 1, 1e-6);
  const ModelConfig dense = known("DeepSeek-R1-Distill-Qwen-7B");
  const ModelSizes same = model_sizes(dense);
  EXPECT_EQ(step_weight_bytes(dense, same, 16, 1), step_weight_bytes(dense, same, 16, 64));
}

TEST(Plan, TheLargestContextFitsAndTheNextPageDoesNot) {
  const ModelConfig config = known("DeepSeek-R1-Distill-Qwen-1.5B");
  const auto total = [&](int64_t context) {
    return context_memory(config, Numerics::cpu_bf16, context, 2048, 2).total();
  };
  const int64_t memory = total(20'000);
  const int64_t longest = largest_context(config, Numerics::cpu_bf16, memory, 2048, 2);
  EXPECT_LE(total(longest), memory);
  EXPECT_GT(total(longest + 256), memory);
  EXPECT_EQ(largest_context(config, Numerics::cpu_bf16, int64_t{1} << 50, 2048, 2), config.max_positions);
  EXPECT_EQ(largest_context(config, Numerics::cpu_bf16, int64_t{1} << 30, 2048, 2), 0);
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
    EXPECT_EQ(model.held_bytes() + rope, context_memory(config, numerics, 256, 256, 1).weights);
    EXPECT_TRUE(model.frozen());
  }
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
