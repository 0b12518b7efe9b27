// r1 plan and r1 bench: their figures fit the schemas and each other, and their errors are one line.
#include <gtest/gtest.h>

#include "recipe/schema.h"
#include "tests/cli/cli_test_util.h"
#include "tests/formats/json_schema.h"
#include "tests/model/quantised_models.h"

namespace r1::plan_test {
namespace {

using test::r1_run;
using test::tiny_deepseek;
using test::tiny_llama;

Json checked(const char* schema, const test::Result& result) {
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "output");
  EXPECT_EQ(test::SchemaValidator(schema_of(schema)).check(json), "");
  return json;
}

TEST(CliPlan, AModelOnDiskAndAKnownOne) {
  for (const std::string& model :
       {tiny_llama(), tiny_deepseek(), std::string("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B")}) {
    const Json json = checked("plan", r1_run({"plan", model, "--json", "--memory-limit", "1G"}));
    EXPECT_EQ(json.get_int("memory_bytes"), 1 << 30);
    const Json& rows = json.at("numerics");
    EXPECT_GE(rows.size(), 2u);
    const bool tiny = model.find("1.5B") == std::string::npos;
    for (const Json& row : rows.items()) {
      EXPECT_EQ(row.get_int("largest_context"), tiny ? 256 : 0);
      EXPECT_EQ(row.get_bool("speed_measured"), tiny) << "a slice of the large one takes more than the limit";
      EXPECT_GT(row.at("decode").at(size_t{0}).get_number("tokens_per_s"), 0);
    }
    // f32 comes first, then bf16 with half of its cache.
    EXPECT_EQ(rows.at(size_t{0}).get_int("kv_bytes_per_token"),
              2 * rows.at(size_t{1}).get_int("kv_bytes_per_token"));
    const std::string text = r1_run({"plan", model, "--memory-limit", "1G"}).out;
    EXPECT_NE(text.find("largest context"), std::string::npos);
    EXPECT_NE(text.find("--kv-type q8"), std::string::npos) << text;
    EXPECT_NE(text.find("prompts "), std::string::npos) << text;
    EXPECT_EQ(json.get_string("best_type"), tiny ? "F32" : "Q3_K_M") << "1.78 B parameters in 1 GiB";
  }
}

TEST(CliPlan, TheMtpHeadIsCounted) {
  const std::string model = R1_SOURCE_DIR "/tests/golden/models-mtp";
  const Json json = checked("plan", r1_run({"plan", model, "--json", "--memory-limit", "1G"}));
  for (const Json& row : json.at("numerics").items()) {
    EXPECT_GT(row.get_int("mtp_bytes"), 0);
    EXPECT_LT(row.get_int("mtp_bytes"),
              row.get_int("weights_bytes") + 256 * row.get_int("kv_bytes_per_token"));
  }
  EXPECT_NE(r1_run({"plan", model, "--memory-limit", "1G"})
                .out.find("the MTP head, which r1 run and r1 serve load"),
            std::string::npos);
  const Json none = checked("plan", r1_run({"plan", tiny_llama(), "--json", "--memory-limit", "1G"}));
  EXPECT_EQ(none.at("numerics").at(size_t{0}).get_int("mtp_bytes"), 0);
}

TEST(CliPlan, QuantisedWeightsAreRowsOfTheirOwn) {
  const std::string file = (test::scratch() / "plan.gguf").string();
  if (!std::filesystem::exists(file)) test::write_quantised_llama(file);
  const Json json = checked("plan", r1_run({"plan", file, "--json", "--memory-limit", "1G"}));
  EXPECT_FALSE(json.at("weights_in").is_null());
  const Json& rows = json.at("numerics");
  const Json& row = rows.at(rows.size() - 1);
  EXPECT_EQ(row.get_string("numerics"), "cpu-q8act");
  EXPECT_LT(row.get_int("weights_bytes"), rows.at(size_t{0}).get_int("weights_bytes"));
  EXPECT_LT(json.get_int("file_bytes"), static_cast<int64_t>(std::filesystem::file_size(file)));
  EXPECT_GT(json.get_int("file_bytes"), static_cast<int64_t>(std::filesystem::file_size(file)) / 2);
  EXPECT_TRUE(row.get_bool("speed_measured"));
  for (const Json& point : row.at("decode").items()) {
    EXPECT_GT(point.get_number("tokens_per_s"), 0);
    EXPECT_GT(point.get_number("prompt_tokens_per_s"), 0);
  }
  const Json& types = row.at("kv_types");
  ASSERT_EQ(types.size(), 3u);
  EXPECT_EQ(types.at(size_t{0}).get_int("bytes_per_token"), 2 * types.at(1).get_int("bytes_per_token"));
  EXPECT_LT(types.at(2).get_int("bytes_per_token"), types.at(1).get_int("bytes_per_token"));
  const Json q8 =
      checked("plan", r1_run({"plan", file, "--json", "--memory-limit", "1G", "--kv-type", "q8"}));
  const Json& last = q8.at("numerics").at(rows.size() - 1);
  EXPECT_EQ(last.get_string("numerics"), "cpu-q8act/kv-q8");
  EXPECT_EQ(last.get_int("kv_bytes_per_token"), types.at(2).get_int("bytes_per_token"));
}

TEST(CliPlan, QuantisingOnLoadIsPlannedWithoutTheFile) {
  const auto planned = [&](const char* type) {
    return checked("plan", r1_run({"plan", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "--json",
                                   "--memory-limit", "1G", "--quantize", type}));
  };
  const Json json = planned("Q4_0");
  EXPECT_EQ(json.get_string("weights_in"), "Q4_0, Q6_K");
  EXPECT_LT(planned("Q2_K").get_int("file_bytes"), json.get_int("file_bytes"));
  EXPECT_EQ(planned("BF16").at("numerics").size(), json.at("numerics").size() - 1) << "has no quantised row";
}

TEST(CliPlan, TheCostOfR1sTraining) {
  const Json json = checked("plan-train", r1_run({"plan", "deepseek-ai/DeepSeek-R1", "--train", "--json"}));
  for (const char* part : {"v3", "v3_pretraining", "r1"}) {
    EXPECT_GT(json.at(part).get_number("ratio"), 0.8) << part;
    EXPECT_LT(json.at(part).get_number("ratio"), 1.2) << part;
  }
  const Json dear =
      checked("plan-train", r1_run({"plan", "deepseek-ai/DeepSeek-R1", "--train", "--json", "--price", "4"}));
  EXPECT_EQ(dear.at("r1").get_number("dollars"), 2 * json.at("r1").get_number("dollars"));
  const std::string text = r1_run({"plan", "deepseek-ai/DeepSeek-R1", "--train"}).out;
  EXPECT_NE(text.find("The figures leave out"), std::string::npos);
  EXPECT_NE(text.find("Assumed are"), std::string::npos);
}

TEST(CliPlan, ErrorsAreOneLine) {
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", "nobody/nothing"}), "plan also knows deepseek-ai/DeepSeek-R1");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", tiny_llama(), "--train"}),
                        "knows the published training of deepseek-ai/DeepSeek-R1");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", tiny_llama(), "--price", "3"}), "are only for --train");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", "deepseek-ai/DeepSeek-R1", "--train", "--utilisation", "0"}),
                        "--utilisation is 0; it must be above 0 and at most 1");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", tiny_llama(), "--dtype", "f32"}), "shows all that this machine has");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", tiny_llama(), "--quantize", "Q9"}),
                        "--quantize Q9: there is no such type");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", "deepseek-ai/DeepSeek-R1", "--train", "--quantize", "Q4_0"}),
                        "a training's weights are not quantised");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", "no.toml", "--kv-type", "q8"}), "type of its activations");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", "no.toml"}), "no.toml");
  EXPECT_ONE_LINE_ERROR(r1_run({"plan", test::write("d.toml", "teacher = \"x\"\nstudent = \"y\"\n")}),
                        "a distillation's memory is its teacher's and its student's");
}

TEST(CliPlan, AConfigurationsStepIsMeasuredAndNothingIsWritten) {
  const std::string out = (test::scratch() / "planned-run").string();
  const std::string config =
      test::write("plan-grpo.toml",
                  std::string("name = \"p\"\n") + "model = \"" + tiny_llama() + "\"\nout = \"" + out +
                      "\"\n[data]\ntask = \"countdown\"\n[rollout]\nprompts = 2\ngroup = 4\nmax_tokens = 16\n"
                      "[optimizer]\nlr = 1e-4\nsteps = 3\n");
  const Json json = checked("plan-config", r1_run({"plan", config, "--json"}));
  EXPECT_EQ(json.get_string("kind"), "grpo");
  EXPECT_EQ(json.get_int("steps"), 3);
  int64_t sum = 0;
  for (const auto& [part, bytes] : json.at("step_bytes").members()) sum += bytes.integer();
  EXPECT_EQ(sum, json.get_int("total_bytes"));
  EXPECT_TRUE(json.get_bool("fits"));
  EXPECT_FALSE(
      checked("plan-config", r1_run({"plan", config, "--json", "--memory-limit", "1M"})).get_bool("fits"));
  EXPECT_FALSE(std::filesystem::exists(out));
  EXPECT_NE(r1_run({"plan", config}).out.find("gradients"), std::string::npos);
  EXPECT_EQ(json.at("step_bytes").get_int("critic"), 0);
  // A run with a critic needs as much again for the second model.
  const std::string ppo = test::write("plan-ppo.toml", read_file(config) + "[critic]\nlambda = 1.0\n");
  const Json with_critic = checked("plan-config", r1_run({"plan", ppo, "--json"}));
  EXPECT_EQ(with_critic.get_string("kind"), "ppo");
  EXPECT_GT(with_critic.at("step_bytes").get_int("critic"), json.at("step_bytes").get_int("optimizer"));
  const auto without_program = [](const Json& plan) {
    return plan.get_int("total_bytes") - plan.at("step_bytes").get_int("program");
  };
  EXPECT_GT(without_program(with_critic), without_program(json));
}

TEST(CliPpo, AStepIsTrainedAndTheCriticIsNamed) {
  const auto config = [](const std::string& more) {
    return test::write("ppo.toml",
                       std::string("name = \"p\"\nmodel = \"r1-nano-base\"\nout = \"") +
                           (test::scratch() / "ppo-run").string() +
                           "\"\n[data]\ntask = \"countdown3\"\n[rollout]\nprompts = 4\ngroup = 4\n"
                           "max_tokens = 60\n[optimizer]\nlr = 1e-4\nsteps = 2\n[critic]\n" +
                           more);
  };
  EXPECT_ONE_LINE_ERROR(r1_run({"ppo", config("lambda = 2.0\n")}),
                        "critic.lambda is 2; it must be between 0 and 1");
  EXPECT_ONE_LINE_ERROR(r1_run({"ppo", config("model = \"" + tiny_llama() + "\"\n")}),
                        "a critic has the policy's architecture and vocabulary");
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", config("")}), "unknown section [critic]");
  const auto run = r1_run({"ppo", config("lambda = 1.0\n"), "--force"});
  ASSERT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.err.find("critic.lr is not set: 0.0004 is taken"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("the critic "), std::string::npos) << run.err;
  const std::string critic = (test::scratch() / "ppo-run/checkpoints/step-000002/critic").string();
  EXPECT_ONE_LINE_ERROR(r1_run({"run", critic, "-p", "x"}), "is of a value model");
  EXPECT_EQ(r1_run({"preflight", config("lambda = 1.0\n"), "--groups", "2"}).status, 0);
}

TEST(CliBench, MeasuresDepthsAndBatchesAndSaysWhatItLeavesOut) {
  const Json json = checked("bench", r1_run({"bench", tiny_deepseek(), "--json", "--depth", "0,64,1024",
                                             "--batch", "1,8", "--repeat", "2"}));
  // 512 new tokens of a prompt, or 64 steps, end beyond this model's context of 256 in some points.
  std::vector<std::string> measured, skipped;
  for (const Json& row : json.at("results").items())
    measured.push_back(row.get_string("kind") + std::to_string(row.get_int("depth")) + "x" +
                       std::to_string(row.get_int("batch")));
  for (const Json& row : json.at("skipped").items()) {
    skipped.push_back(row.get_string("kind") + std::to_string(row.get_int("depth")) + "x" +
                      std::to_string(row.get_int("batch")));
    EXPECT_EQ(row.get_string("why"), "the model's context ends at 256");
  }
  EXPECT_EQ(measured, (std::vector<std::string>{"decode0x1", "decode64x1", "prefill0x8", "decode0x8",
                                                "prefill64x8", "decode64x8"}));
  EXPECT_EQ(measured.size() + skipped.size(), 12u);
  for (const Json& row : json.at("results").items()) {
    const Json& rate = row.at("tokens_per_s");
    EXPECT_GT(rate.get_number("low"), 0);
    EXPECT_LE(rate.get_number("low"), rate.get_number("median"));
    EXPECT_LE(rate.get_number("median"), rate.get_number("high"));
  }
  EXPECT_EQ(json.at("llama_cpp").get_string("why_not"), "the model is not a GGUF file");
  const std::string text =
      r1_run({"bench", tiny_llama(), "--depth", "0", "--batch", "1", "--repeat", "1"}).out;
  EXPECT_NE(text.find("decode"), std::string::npos) << text;
  EXPECT_NE(text.find("left out: the model's context ends at 256"), std::string::npos) << text;
}

TEST(CliBench, QuantisedWeightsAreCountedAsTheyAreHeld) {
  const std::string file = (test::scratch() / "bench.gguf").string();
  if (!std::filesystem::exists(file)) test::write_quantised_llama(file);
  const auto bench = [&](const char* type) {
    return checked("bench", r1_run({"bench", file, "--json", "--depth", "0", "--batch", "1", "--repeat", "1",
                                    "--no-llama-cpp", "--kv-type", type}));
  };
  const Json own = bench("bf16"), q8 = bench("q8");
  EXPECT_EQ(own.get_string("numerics"), "cpu-q8act");
  EXPECT_EQ(q8.get_string("numerics"), "cpu-q8act/kv-q8");
  EXPECT_LT(q8.get_int("kv_bytes_per_token"), own.get_int("kv_bytes_per_token"));
  EXPECT_LT(own.get_int("weights_bytes"), 2 * static_cast<int64_t>(std::filesystem::file_size(file)));
  EXPECT_GT(own.get_number("peak_gflops"), 0);
}

TEST(CliBench, AShapeIsMeasuredWithoutAFileOfWeights) {
  const std::filesystem::path folder = test::scratch() / "bench-shape";
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "config.json",
                        read_file(std::filesystem::path(tiny_llama()) / "config.json"));
  const auto bench = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench", folder.string(), "--json", "--depth", "0", "--batch",
                                       "1",     "--repeat",      "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return r1_run(arguments);
  };
  EXPECT_ONE_LINE_ERROR(bench({}), "model.safetensors");
  const Json json = checked("bench", bench({"--random-weights"}));
  EXPECT_EQ(json.get_string("device"), "cpu");
  EXPECT_GT(json.at("results").items()[0].at("tokens_per_s").get_number("median"), 0);
  const Json blocks = checked("bench", bench({"--random-weights", "--quantize", "Q8_0"}));
  EXPECT_EQ(blocks.get_string("numerics"), "cpu-q8act");
  EXPECT_LT(blocks.get_int("weights_bytes"), json.get_int("weights_bytes"));
}

TEST(CliBench, RandomWeightsOfAQuantisedFileHaveItsFormats) {
  const std::string file = (test::scratch() / "bench.gguf").string();
  if (!std::filesystem::exists(file)) test::write_quantised_llama(file);
  const auto bench = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench",   file, "--json",   "--depth", "0",
                                       "--batch", "1",  "--repeat", "1",       "--no-llama-cpp"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return r1_run(arguments);
  };
  const Json own = checked("bench", bench({})), random = checked("bench", bench({"--random-weights"}));
  EXPECT_EQ(random.get_string("numerics"), "cpu-q8act");
  EXPECT_EQ(random.get_int("weights_bytes"), own.get_int("weights_bytes"));
  EXPECT_ONE_LINE_ERROR(bench({"--random-weights", "--quantize", "Q8_0"}), "is quantised already");
}

TEST(CliBench, TrainsAModelOrAShapeAndTellsItsSpeed) {
  const auto bench = [&](const std::string& model, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench",    model, "--train", "--json", "--rows",   "3",
                                       "--length", "20",  "--micro", "40",     "--repeat", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return r1_run(arguments);
  };
  const Json json = checked("bench-train", bench(tiny_llama(), {"--device", "cpu"}));
  EXPECT_EQ(json.get_string("numerics"), "cpu-f32");
  EXPECT_EQ(json.get_int("rows"), 3);
  EXPECT_GT(json.get_int("activation_bytes"), 0);
  const Json& rate = json.at("tokens_per_s");
  EXPECT_NEAR(rate.get_number("median") * json.get_number("step_s"), 60, 1e-6);
  EXPECT_LE(rate.get_number("low"), rate.get_number("median"));
  EXPECT_TRUE(json.at("kernels").items().empty());
  EXPECT_FALSE(json.get_bool("recompute"));
  const Json again = checked("bench-train", bench(tiny_llama(), {"--device", "cpu", "--recompute"}));
  EXPECT_TRUE(again.get_bool("recompute"));
  EXPECT_LT(again.get_int("activation_bytes"), json.get_int("activation_bytes"));
  // A configuration alone: new weights of its sizes.
  const std::string shape = (std::filesystem::path(tiny_deepseek()) / "config.json").string();
  const Json made = checked("bench-train", bench(shape, {"--device", "cpu", "--numerics", "cpu-bf16"}));
  EXPECT_EQ(made.get_string("numerics"), "cpu-bf16");
  EXPECT_LT(made.get_int("active_parameters"), made.get_int("parameters"));
  EXPECT_NE(r1_run({"bench", tiny_llama(), "--train", "--rows", "1", "--length", "8", "--repeat", "1",
                    "--device", "cpu"})
                .out.find("tokens/s"),
            std::string::npos);
}

TEST(CliBench, ErrorsOfTrainingAreOneLine) {
  const auto bench = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench", tiny_llama(), "--train", "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return r1_run(arguments);
  };
  EXPECT_ONE_LINE_ERROR(bench({"--rows", "0"}), "--rows is 0; it must be between 1 and 65536");
  EXPECT_ONE_LINE_ERROR(bench({"--length", "4000"}), "--length is 4000; the model's context ends at 256");
  EXPECT_ONE_LINE_ERROR(bench({"--numerics", "cpu-q8act"}), "it trains no model");
  EXPECT_ONE_LINE_ERROR(bench({"--quantize", "Q8_0"}), "quantised weights are not trained");
  EXPECT_ONE_LINE_ERROR(bench({"--kv-type", "q8"}), "--kv-type: a training keeps");
  EXPECT_ONE_LINE_ERROR(bench({"--memory-limit", "1G"}), "--memory-limit: r1 bench --train keeps no limit");
  EXPECT_ONE_LINE_ERROR(bench({"--depth", "0"}), "--depth");
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", tiny_llama(), "--rows", "3"}), "--train");
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", tiny_llama(), "--recompute"}), "--train");
}

TEST(CliBench, ErrorsAreOneLine) {
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", tiny_llama(), "--batch", "0"}),
                        "--batch is 0; it must be numbers between 1 and 1024, separated by commas");
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", tiny_llama(), "--depth", "-1"}), "--depth is -1");
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", tiny_llama(), "--depth", "1,,2"}), "--depth is '1,,2'");
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", tiny_llama(), "--repeat", "0"}), "--repeat is 0");
  EXPECT_ONE_LINE_ERROR(r1_run({"bench", "nobody/nothing"}), "r1 pull nobody/nothing");
}

}  // namespace
}  // namespace r1::plan_test
