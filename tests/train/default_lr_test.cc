#include "train/default_lr.h"

#include <gtest/gtest.h>

namespace r1::default_lr_test {
namespace {

TEST(DefaultLr, FollowsTheModelsSize) {
  EXPECT_EQ(default_lr(Teaching::reinforcement, 300'000), 1.5e-4);
  EXPECT_EQ(default_lr(Teaching::reinforcement, 1'000'000), 1.5e-4);
  EXPECT_EQ(default_lr(Teaching::reinforcement, 10'000'000), 3e-5);
  EXPECT_EQ(default_lr(Teaching::reinforcement, 1'500'000'000), 1e-6);
  EXPECT_EQ(default_lr(Teaching::reinforcement, 70'000'000'000), 1e-6);
  EXPECT_EQ(default_lr(Teaching::fine_tuning, 1'000'000), 5e-4);
  EXPECT_EQ(default_lr(Teaching::fine_tuning, 100'000'000), 4.4e-5);
  EXPECT_EQ(default_lr(Teaching::fine_tuning, 7'000'000'000), 1e-5);
}

TEST(DefaultLr, IsTakenOnlyIfTheFileNamesNone) {
  const Json json = parse_json(R"({"model_type": "llama", "vocab_size": 1000, "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5})",
                               "config");
  const ModelConfig model = read_model_config(json);
  ConfigFile silent = ConfigFile::parse("optimizer.steps = 3\n", "a.toml");
  OptimizerConfig o = read_optimizer_config(silent, kTeachingDefaults);
  EXPECT_EQ(o.warmup, 5);
  const std::string note = choose_lr(o, silent, Teaching::reinforcement, model);
  EXPECT_NE(note.find("optimizer.lr is not set: 0.00015 is taken"), std::string::npos) << note;
  EXPECT_EQ(o.lr, 1.5e-4);
  EXPECT_EQ(silent.settings().get_number("optimizer.lr"), 1.5e-4);
  ConfigFile given = ConfigFile::parse("optimizer.steps = 3\noptimizer.lr = 0.0\n", "a.toml");
  OptimizerConfig g = read_optimizer_config(given, kTeachingDefaults);
  EXPECT_EQ(choose_lr(g, given, Teaching::reinforcement, model), "");
  EXPECT_EQ(g.lr, 0.0);
}

}  // namespace
}  // namespace r1::default_lr_test
