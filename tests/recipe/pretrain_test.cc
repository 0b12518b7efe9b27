// Pre-training on the corpus learns and resumes to the bit, and the corpus is clean.
#include "data/corpus.h"
#include "data/countdown_question.h"
#include "recipe/recipe.h"
#include "tests/train/train_test_util.h"

namespace r1::pretrain_test {
namespace {

constexpr const char* kModel = R"(
[model.config]
model_type = "deepseek_v3"
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
moe_intermediate_size = 16
first_k_dense_replace = 1
max_position_embeddings = 256
[tokenizer]
vocab_size = 300
documents = 200
[data]
task = "countdown"
max_tokens = 128
[balance]
gamma = 0.01
alpha = 0.001
[batch]
tokens = 800
micro = 300
)";

class Runs : public RunFolder {
 protected:
  std::filesystem::path config(const std::string& name, const std::string& out, int steps,
                               const std::string& more = "") const {
    return write(name, "name = \"t\"\nseed = 3\nout = \"" + (root / out).string() + "\"\n" + kModel +
                           "[optimizer]\nlr = 5e-3\nschedule = \"cosine\"\nwarmup = 2\nsteps = " +
                           std::to_string(steps) + "\n[checkpoint]\nevery = 2\n" + more);
  }
  SilentReporter reporter;
};

TEST_F(Runs, LossFallsAndThreadsChangeNoBit) {
  ThreadPool one(1), two(2);
  const auto a = run_pretrain_config(config("a.toml", "a", 30), {}, one, reporter);
  EXPECT_LT(reporter.rows.back().get_number("loss"), 0.75 * reporter.rows.front().get_number("loss"));
  const auto b = run_pretrain_config(config("b.toml", "b", 30), {}, two, reporter);
  EXPECT_EQ(weights_of(a), weights_of(b));
}

TEST_F(Runs, ResumedRunEndsWithTheSameWeights) {
  ThreadPool threads(2);
  const auto a = run_pretrain_config(config("a.toml", "a", 7), {}, threads, reporter);
  const auto b = config("b.toml", "b", 7);
  for (int i = 0; i < 3; ++i)
    run_pretrain_config(b, {.resume = true, .stop_after_steps = 2}, threads, reporter);
  const auto done = run_pretrain_config(b, {.resume = true, .stop_after_steps = 0}, threads, reporter);
  EXPECT_EQ(weights_of(a), weights_of(done));
}

TEST_F(Runs, MicroBatchesChangeNoBit) {
  ThreadPool threads(2);
  const auto a = run_pretrain_config(config("a.toml", "a", 5), {}, threads, reporter);
  std::string text = read_file(config("b.toml", "b", 5));
  text.replace(text.find("micro = 300"), 11, "micro = 900");
  const auto b = run_pretrain_config(write("b.toml", text), {}, threads, reporter);
  EXPECT_TRUE(weights_of(a) == weights_of(b));
}

TEST_F(Runs, LeaveNothingWhereTheyAreRefused) {
  ThreadPool threads(1);
  EXPECT_THROW(run_pretrain_config(config("a.toml", "a", 3), {.memory_limit = 1 << 20}, threads, reporter),
               Error);
  EXPECT_FALSE(std::filesystem::exists(root / "a"));
}

TEST_F(Runs, UnwritableDirectoryIsOneClearLine) {
  ThreadPool threads(1);
  std::string text = read_file(config("a.toml", "a", 3));
  const std::string out = (root / "a").string();
  text.replace(text.find(out), out.size(), "/proc/no/such");
  try {
    run_pretrain_config(write("a.toml", text), {}, threads, reporter);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/proc/no/such"), std::string::npos) << e.what();
  }
}

TEST(Corpus, HoldsNoHeldOutMultiset) {
  for (uint64_t i = 0; i < 20000; ++i) {
    const CorpusText text = make_corpus_text({}, 1, i);
    const auto asked = parse_question(text.question);
    ASSERT_TRUE(asked.has_value()) << text.question;
    EXPECT_FALSE(is_held_out(asked->numbers)) << text.question;
    EXPECT_EQ(asked->target, text.problem.target) << text.question;
  }
}

}  // namespace
}  // namespace r1::pretrain_test
