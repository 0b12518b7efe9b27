// The memory of a whole process: the estimate of a training command compared with the system's measurement.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"

namespace r1::test::memory_test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

std::string pretrain_config(const std::string& name, const std::string& numerics = "cpu-f32") {
  return write(name + ".toml",
               "name = \"t\"\nnumerics = \"" + numerics + "\"\nout = \"" + (scratch() / name).string() + R"("
[model.config]
model_type = "deepseek_v3"
hidden_size = 256
intermediate_size = 512
num_hidden_layers = 3
num_attention_heads = 4
kv_lora_rank = 64
qk_nope_head_dim = 32
qk_rope_head_dim = 16
v_head_dim = 32
n_routed_experts = 6
num_experts_per_tok = 2
moe_intermediate_size = 192
first_k_dense_replace = 1
max_position_embeddings = 256
[tokenizer]
vocab_size = 400
documents = 100
[data]
max_tokens = 120
[optimizer]
steps = 2
[batch]
tokens = 3000
micro = 1500
)");
}

TEST(MemoryOfAProcess, IsEstimatedWithinATenth) {
  if (kSanitized) GTEST_SKIP() << "AddressSanitizer's own memory is counted: SKIPPED";
  for (const std::string numerics : {"cpu-f32", "cpu-bf16"}) {
    const std::string name = "memory-" + numerics;
    const Result run = r1_run({"pretrain", pretrain_config(name, numerics), "--threads", "2"});
    ASSERT_EQ(run.status, 0) << run.err;
    const Json memory = parse_json(read_file(scratch() / name / "run.json"), "run.json").at("memory_mib");
    EXPECT_GT(memory.get_number("total"), 90) << memory.dump();
    EXPECT_GE(memory.get_number("total"), 0.9 * memory.get_number("measured_resident")) << memory.dump();
    EXPECT_LE(memory.get_number("total"), 1.1 * memory.get_number("measured_resident")) << memory.dump();
  }
}

TEST(MemoryOfAProcess, LimitIsHonouredBeforeTheFirstStep) {
  // The weights and what belongs to them take 52 MiB, and a step takes about 100 MiB.
  const Result too_large = r1_run({"pretrain", pretrain_config("refused"), "--memory-limit", "40M"});
  EXPECT_ONE_LINE_ERROR(too_large, "lower [model.config]'s sizes");
  const Result refused = r1_run({"pretrain", pretrain_config("refused"), "--memory-limit", "70M"});
  EXPECT_ONE_LINE_ERROR(refused, "lower batch.micro");
  EXPECT_FALSE(fs::exists(scratch() / "refused" / "run.json"));
  const Result fits = r1_run({"pretrain", pretrain_config("fits"), "--memory-limit", "8G"});
  EXPECT_EQ(fits.status, 0) << fits.err;
}

}  // namespace
}  // namespace r1::test::memory_test
