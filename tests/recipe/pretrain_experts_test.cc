// Models with a softmax router are pre-trained: Qwen3 with experts and DeepSeek-V2. What their routers do not
// have is refused.
#include "recipe/recipe.h"
#include "tests/train/train_test_util.h"

namespace r1::pretrain_experts_test {
namespace {

constexpr const char* kQwenModel = R"(
[model.config]
model_type = "qwen3_moe"
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
num_experts = 4
num_experts_per_tok = 2
norm_topk_prob = true
moe_intermediate_size = 16
mlp_only_layers = [0]
)";
constexpr const char* kDeepseekModel = R"(
[model.config]
model_type = "deepseek_v2"
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 2
kv_lora_rank = 16
qk_nope_head_dim = 8
qk_rope_head_dim = 4
v_head_dim = 8
n_routed_experts = 4
num_experts_per_tok = 2
n_shared_experts = 1
n_group = 2
topk_group = 1
topk_method = "group_limited_greedy"
moe_intermediate_size = 16
first_k_dense_replace = 1
)";
constexpr const char* kDenseModel = R"(
[model.config]
model_type = "qwen3"
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
)";

class ExpertRuns : public RunFolder {
 protected:
  std::filesystem::path config(const std::string& name, const std::string& model, const std::string& balance,
                               int steps) const {
    return write(name + ".toml",
                 "name = \"t\"\nseed = 3\nout = \"" + (root / name).string() + "\"\n" + model +
                     "max_position_embeddings = 256\n[tokenizer]\nvocab_size = 300\ndocuments = 200\n"
                     "[data]\ntask = \"countdown\"\nmax_tokens = 128\n[batch]\ntokens = 800\nmicro = 300\n"
                     "[balance]\n" +
                     balance + "\n[optimizer]\nlr = 5e-3\nschedule = \"cosine\"\nwarmup = 2\nsteps = " +
                     std::to_string(steps) + "\n");
  }
  std::string refusal(const std::string& name, const std::string& model, const std::string& balance) {
    ThreadPool threads(2);
    try {
      run_pretrain_config(config(name, model, balance, 2), {}, threads, reporter);
    } catch (const Error& e) {
      const std::string why = e.what();
      return why.substr(why.find("balance"));
    }
    return "";
  }
  SilentReporter reporter;
};

TEST_F(ExpertRuns, LossFallsAndThreadsChangeNoBit) {
  ThreadPool one(1), two(2);
  for (const char* model : {kQwenModel, kDeepseekModel}) {
    const std::string name = model == kQwenModel ? "qwen" : "deepseek";
    reporter.rows.clear();
    const auto a = run_pretrain_config(config(name + "-a", model, "alpha = 0.01", 20), {}, one, reporter);
    EXPECT_LT(reporter.rows.back().get_number("loss"), 0.85 * reporter.rows.front().get_number("loss"))
        << name;
    EXPECT_GT(reporter.rows.front().get_number("balance_loss"), 0.0) << name;
    const auto b = run_pretrain_config(config(name + "-b", model, "alpha = 0.01", 20), {}, two, reporter);
    EXPECT_EQ(weights_of(a), weights_of(b)) << name;
  }
}

TEST_F(ExpertRuns, WhatTheRouterDoesNotHaveIsRefused) {
  EXPECT_EQ(
      refusal("a", kQwenModel, "gamma = 0.01"),
      "balance.gamma is 0.01; a qwen3_moe model has no selection bias that it could change: leave it out");
  EXPECT_EQ(
      refusal("b", kDeepseekModel, "gamma = 0.01"),
      "balance.gamma is 0.01; a deepseek_v2 model has no selection bias that it could change: leave it out");
  EXPECT_EQ(refusal("c", kDenseModel, "alpha = 0.01"),
            "balance.alpha is 0.01; a qwen3 model has no experts to balance: leave it out");
  EXPECT_EQ(refusal("d", kQwenModel, "gamma = 0"), "");
}

}  // namespace
}  // namespace r1::pretrain_experts_test
