// The memory that a stage announces before it starts, compared with what it measured at its end.
#include "base/process.h"
#include "formats/jsonl.h"
#include "tests/train/train_test_util.h"

namespace r1::memory_test {
namespace {

class MemoryOfAStage : public RunFolder {
 protected:
  static void expect_near(const Json& run, const char* estimate, const char* measured) {
    const Json& memory = run.at("memory_mib");
    EXPECT_GE(memory.get_number(estimate), 0.97 * memory.get_number(measured)) << memory.dump();
    EXPECT_LE(memory.get_number(estimate), 1.1 * memory.get_number(measured)) << memory.dump();
  }
  // Requires both lines: one before the first step, and one after the last.
  static void expect_notes(const std::vector<std::string>& notes) {
    const auto said = [&](const std::string& what) {
      return std::ranges::any_of(notes, [&](const std::string& n) { return n.starts_with(what); });
    };
    EXPECT_TRUE(said("memory of a step: weights "));
    EXPECT_TRUE(said("memory measured: activations "));
  }
  std::filesystem::path pretrain_config(int64_t micro, const std::string& out,
                                        Numerics numerics = Numerics::cpu_f32) const {
    return write(out + ".toml", "name = \"t\"\nnumerics = \"" + std::string(name_of(numerics)) +
                                    "\"\nout = \"" + (root / out).string() + "\"\nmodel = \"" + base() +
                                    "\"\n[data]\nmax_tokens = 100\n[optimizer]\nsteps = 2\n[balance]\nalpha "
                                    "= 0.001\n[batch]\ntokens = 5000\nmicro = " +
                                    std::to_string(micro) + "\n");
  }
};

TEST_F(MemoryOfAStage, PretrainingIsEstimatedWithinATenth) {
  for (const auto& [threads, numerics] :
       {std::pair(1, Numerics::cpu_f32), std::pair(3, Numerics::cpu_f32), std::pair(2, Numerics::cpu_bf16)}) {
    ThreadPool pool(threads);
    for (const int64_t micro : {400, 4000}) {
      SilentReporter reporter;
      const std::string out = "a" + std::to_string(micro) + "_" + std::to_string(threads);
      SCOPED_TRACE(out);
      run_pretrain_config(pretrain_config(micro, out, numerics), {}, pool, reporter);
      expect_near(read_json(root / out / "run.json"), "activations", "measured_activations");
      expect_notes(reporter.notes);
    }
  }
}

// batch.recompute lowers the activations that are measured, as it lowers those that are estimated, and changes no
// weight. A resumed run may switch it on.
TEST_F(MemoryOfAStage, ActivationCheckpointingNeedsLessAndTrainsTheSameWeights) {
  ThreadPool pool(2);
  const auto trained = [&](const std::filesystem::path& config, const std::string& out, const auto& run) {
    SilentReporter reporter;
    const TrainOptions half{.force = true, .stop_after_steps = 1};
    std::string text = read_file(config);
    run(config, half, pool, reporter, StageOverrides{});
    const auto again =
        write(out + "_again.toml", text.replace(text.find("micro = "), 0, "recompute = true\n"));
    run(again, TrainOptions{.resume = true, .force = true}, pool, reporter, StageOverrides{});
    const Json json = read_json(root / out / "run.json");
    expect_near(json, "activations", "measured_activations");
    return std::pair(weights_of(root / out / "model"), json.at("memory_mib"));
  };
  {
    SilentReporter reporter;
    run_pretrain_config(pretrain_config(4000, "kept"), {}, pool, reporter);
    const auto [weights, memory] = trained(pretrain_config(4000, "p"), "p", run_pretrain_config);
    EXPECT_TRUE(weights == weights_of(root / "kept/model"));
    const Json kept = read_json(root / "kept/run.json").at("memory_mib");
    EXPECT_LT(memory.get_number("measured_activations"), 0.6 * kept.get_number("measured_activations"));
  }
  const auto short_answers = [&](const std::string& out) {
    // With a penalty to the reference, every answer has a gradient.
    std::string text = read_file(grpo_config(out + ".toml", out, "", "[loss]\nkl = 0.01\n"));
    text.replace(text.find("max_tokens = 40"), 15, "max_tokens = 16");
    text.replace(text.find("micro = 300"), 11, "micro = 900");
    return write(out + ".toml", text);
  };
  SilentReporter reporter;
  run_grpo_config(short_answers("gkept"), {.force = true}, pool, reporter);
  const auto [weights, memory] = trained(short_answers("g"), "g", run_grpo_config);
  EXPECT_TRUE(weights == weights_of(root / "gkept/model"));
}

// The longest row comes last, after all rows that an estimate might examine.
TEST_F(MemoryOfAStage, FineTuningIsEstimatedByItsLongestRow) {
  const auto row = [](int words) {
    std::string text = "{\"question\": \"q\", \"response\": \"";
    for (int i = 0; i < words; ++i) text += "24 ";
    return text + "\"}\n";
  };
  std::string rows;
  for (int i = 0; i < 400; ++i) rows += row(4);
  write("rows.jsonl", rows + row(300));
  const auto config =
      write("sft.toml",
            "name = \"s\"\nmodel = \"r1-nano-base\"\nout = \"" + (root / "s").string() +
                "\"\n[data]\nfiles = [\"rows.jsonl\"]\nepochs = 1\nmax_tokens = 1000\n[batch]\ntokens = "
                "500\nmicro = 300\n");
  ThreadPool pool(2);
  SilentReporter reporter;
  run_sft_config(config, {}, pool, reporter);
  const Json memory = read_json(root / "s/run.json").at("memory_mib");
  EXPECT_GE(memory.get_number("activations"), 0.97 * memory.get_number("measured_activations"))
      << memory.dump();
  EXPECT_LE(memory.get_number("activations"), 1.3 * memory.get_number("measured_activations"))
      << memory.dump();
}

TEST_F(MemoryOfAStage, WhatNoMachineHasIsRefusedWithoutALimitToo) {
  ThreadPool pool(1);
  SilentReporter reporter;
  const auto config = write("p.toml", "name = \"p\"\nout = \"" + (root / "p").string() + R"("
[model.config]
model_type = "llama"
hidden_size = 65536
intermediate_size = 262144
num_hidden_layers = 200
num_attention_heads = 512
num_key_value_heads = 512
max_position_embeddings = 256
rms_norm_eps = 1e-5
[tokenizer]
vocab_size = 300
documents = 10
[optimizer]
steps = 1
)");
  try {
    run_pretrain_config(config, {}, pool, reporter);
    FAIL() << "it was made";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("this machine has "), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("lower [model.config]'s sizes"), std::string::npos) << e.what();
  }
  EXPECT_FALSE(std::filesystem::exists(root / "p"));
}

TEST_F(MemoryOfAStage, MoreAnswersThanAnyMachineHoldsAreRefused) {
  ThreadPool pool(1);
  SilentReporter reporter;
  std::string text = read_file(grpo_config("a.toml", "a"));
  text.replace(text.find("prompts = 3\ngroup = 6\nmax_tokens = 40"), 37,
               "prompts = 65536\ngroup = 1024\nmax_tokens = 1000");
  try {
    run_grpo_config(write("a.toml", text), {}, pool, reporter);
    FAIL() << "it began";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("this machine has "), std::string::npos) << e.what();
  }
  EXPECT_FALSE(std::filesystem::exists(root / "a"));
}

TEST_F(MemoryOfAStage, ReinforcementLearningIsEstimatedWithinATenth) {
  ThreadPool pool(2);
  for (const auto& [micro, numerics] :
       {std::pair("256", Numerics::cpu_f32), std::pair("900", Numerics::cpu_f32),
        std::pair("900", Numerics::cpu_bf16)}) {
    SilentReporter reporter;
    const std::string out = std::string("run") + micro + std::string(name_of(numerics));
    SCOPED_TRACE(out);
    std::string text = "numerics = \"" + std::string(name_of(numerics)) + "\"\n" +
                       read_file(grpo_config("a.toml", out, "", "[loss]\nkl = 0.01\n"));
    text.replace(text.find("micro = 300"), 11, std::string("micro = ") + micro);
    text.replace(text.find("max_tokens = 40"), 15, "max_tokens = 16");  // as long as nearly every answer gets
    run_grpo_config(write("a.toml", text), {.force = true}, pool, reporter);
    const Json run = read_json(root / out / "run.json");
    expect_near(run, "activations", "measured_activations");
    expect_near(run, "kv", "measured_kv");
    EXPECT_GT(run.at("memory_mib").get_number("measured_kv"), 1.0);
    expect_notes(reporter.notes);
  }
}

TEST_F(MemoryOfAStage, TooMuchIsRefusedBeforeAnythingIsWritten) {
  ThreadPool pool(1);
  SilentReporter reporter;
  const auto message = [&](const auto& run, const std::filesystem::path& config, int64_t mib) -> std::string {
    try {
      const TrainOptions options{.memory_limit = resident_bytes() + (mib << 20)};
      run(config, options, pool, reporter, StageOverrides{});
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const std::string pretraining = message(run_pretrain_config, pretrain_config(4000, "a"), 10);
  EXPECT_NE(pretraining.find(" MiB: a step needs about "), std::string::npos) << pretraining;
  EXPECT_NE(pretraining.find("lower batch.micro"), std::string::npos) << pretraining;
  const std::string reinforcement = message(run_grpo_config, grpo_config("b.toml", "b"), 10);
  EXPECT_NE(reinforcement.find("rollout.batch"), std::string::npos) << reinforcement;
  const std::string nano = std::string(R1_SOURCE_DIR) + "/models/r1-nano";
  const std::string student =
      message(run_distill_config,
              write("d.toml", "name = \"d\"\nteacher = \"" + nano + "\"\nstudent = \"" + base() +
                                  "\"\nout = \"" + (root / "d").string() + "\"\n[data]\nepochs = 1\n"),
              10);
  EXPECT_NE(student.find("a step of the student needs about "), std::string::npos) << student;
  // The student fits with small micro-batches, but not so many answers at a time.
  const std::string teacher =
      message(run_distill_config,
              write("e.toml", "name = \"e\"\nteacher = \"" + nano + "\"\nstudent = \"" + nano +
                                  "-student-base\"\nout = \"" + (root / "e").string() +
                                  "\"\n[data]\nepochs = 1\nmax_tokens = 60\n[batch]\nmicro = 60\n"),
              60);
  EXPECT_NE(teacher.find("the teacher needs about "), std::string::npos) << teacher;
  EXPECT_NE(teacher.find("lower rollout.batch"), std::string::npos) << teacher;
  EXPECT_FALSE(std::filesystem::exists(root / "a"));
  EXPECT_FALSE(std::filesystem::exists(root / "d"));
  EXPECT_FALSE(std::filesystem::exists(root / "e"));
  EXPECT_FALSE(std::filesystem::exists(root / "b"));
}

}  // namespace
}  // namespace r1::memory_test
