// `r1 preflight`, `r1 samples` and --set, as a user types them.
#include <gtest/gtest.h>

#include "formats/jsonl.h"
#include "tests/cli/cli_test_util.h"
#include "tests/formats/json_schema.h"

namespace r1::test::watch_test {
namespace {

constexpr const char* kBase = R1_SOURCE_DIR "/models/r1-nano-base";

std::string config_of(const std::string& name, const std::string& more = "") {
  return write(name,
               "name = \"t\"\nseed = 5\nmodel = \"" + std::string(kBase) +
                   "\"\n[data]\ntask = \"countdown3\"\n[rollout]\nprompts = 3\ngroup = 6\nmax_tokens = 40\n"
                   "[optimizer]\nlr = 1e-3\nsteps = 4\n[log]\nsamples_every = 2\n" +
                   more);
}

Json schema_named(const std::string& name) {
  return parse_json(r1_run({"schema", name}).out, name);
}

TEST(CliPreflight, IsOneObjectThatFitsItsSchema) {
  const Result result = r1_run({"preflight", config_of("p.toml"), "--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "preflight");
  EXPECT_EQ(SchemaValidator(schema_named("preflight-output")).check(json), "") << result.out;
  EXPECT_EQ(json.get_int("groups"), 8);
  EXPECT_TRUE(json.at("refused").items().empty()) << result.out;
}

TEST(CliPreflight, SaysEachFigureInATable) {
  const Result result = r1_run({"preflight", config_of("p.toml"), "--groups", "3"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out.find("preflight: 3 groups, 18 answers"), 0u) << result.out;
  for (const char* line : {"truncated", "right", "reward", "groups with signal", "verifier failures",
                           "answer length", "memory of a step", "time of a step", "whole run"})
    EXPECT_NE(result.out.find(std::string("\n  ") + line + "  "), std::string::npos) << line << "\n"
                                                                                     << result.out;
}

// With this configuration nearly all answers would be cut off.
TEST(CliPreflight, ARunWhoseAnswersAreCutOffIsRefusedWithTheReason) {
  const std::string config = config_of("cut.toml"), out = (scratch() / "cut-off-run").string();
  const Result tried = r1_run({"preflight", config, "--set", "rollout.max_tokens=12", "--json"});
  EXPECT_EQ(tried.status, 1) << tried.err;
  const Json json = parse_json(tried.out, "preflight");
  EXPECT_GE(json.at("truncated").get_number("value"), 0.97);
  EXPECT_NE(json.at("refused").at(size_t{0}).get_string("advice").find("rollout.max_tokens"),
            std::string::npos);
  const Result refused = r1_run({"grpo", config, "--set", "rollout.max_tokens=12", "--out", out});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("r1: " + config + ": refused before its first step: "), std::string::npos)
      << refused.err;
  EXPECT_NE(refused.err.find("rollout.max_tokens = 12"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(out));
  const Result forced = r1_run({"grpo", config, "--set", "rollout.max_tokens=12", "--set",
                                "optimizer.steps=1", "--out", out, "--force"});
  EXPECT_EQ(forced.status, 0) << forced.err;
  EXPECT_EQ(read_jsonl(fs::path(out) / "metrics.jsonl").size(), 1u);
}

TEST(CliPreflight, OptionsOutOfRangeAreOneClearLine) {
  const std::string config = config_of("p.toml");
  EXPECT_ONE_LINE_ERROR(r1_run({"preflight", config, "--groups", "0"}),
                        "--groups is 0; it must be between 1 and");
  EXPECT_ONE_LINE_ERROR(r1_run({"preflight", config, "--seconds", "0"}),
                        "--seconds is 0; it must be above 0");
  EXPECT_ONE_LINE_ERROR(r1_run({"preflight", (scratch() / "none.toml").string()}), "none.toml");
}

class CliSamples : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    run = (scratch() / "samples-run").string();
    const Result result = r1_run(
        {"grpo",
         config_of("s.toml", "[[eval]]\ntask = \"countdown3\"\nevery = 2\nproblems = 20\nmax_tokens = 60\n"),
         "--out", run});
    ASSERT_EQ(result.status, 0) << result.err;
  }
  static Result samples(std::vector<std::string> options) {
    options.insert(options.begin(), {"samples", run});
    return r1_run(options);
  }
  static Json json_of(std::vector<std::string> options) {
    options.push_back("--json");
    const Result result = samples(options);
    EXPECT_EQ(result.status, 0) << result.err;
    return parse_json(result.out, "samples");
  }
  static std::string run;
};
std::string CliSamples::run;

TEST_F(CliSamples, RowsHaveTheTextAndTheVerdict) {
  const Json schema = schema_named("samples.jsonl"), evals = schema_named("evals.jsonl");
  const std::vector<Json> rows = read_jsonl(fs::path(run) / "samples.jsonl");
  EXPECT_EQ(rows.size(), 3u * 18);  // steps 1, 2 and 4
  for (const Json& row : rows) {
    EXPECT_EQ(SchemaValidator(schema).check(row), "");
    EXPECT_FALSE(row.get_string("text").empty());
  }
  for (const Json& row : read_jsonl(fs::path(run) / "evals.jsonl"))
    EXPECT_EQ(SchemaValidator(evals).check(row), "");
  for (const Json& row : read_jsonl(fs::path(run) / "metrics.jsonl"))
    EXPECT_EQ(SchemaValidator(schema_named("metrics.jsonl")).check(row), "") << row.dump();
}

TEST_F(CliSamples, AreChosenByStepVerdictTaskAndNumber) {
  EXPECT_EQ(json_of({}).get_int("step"), 4) << "the last one";
  EXPECT_EQ(json_of({"--step", "1"}).get_int("matching"), 18);
  const int64_t all = json_of({"--step", "2"}).get_int("matching");
  EXPECT_EQ(all, 18 + 20);
  const Json wrong = json_of({"--step", "2", "--wrong", "--limit", "5"}),
             right = json_of({"--step", "2", "--right"});
  EXPECT_EQ(wrong.get_int("matching") + right.get_int("matching"), all);
  EXPECT_EQ(wrong.at("samples").items().size(), 5u);
  for (const Json& row : wrong.at("samples").items()) EXPECT_FALSE(row.get_bool("correct"));
  EXPECT_EQ(json_of({"--step", "2", "--task", "arithmetic"}).get_int("matching"), 0);
}

TEST_F(CliSamples, AreReadable) {
  const Result result = samples({"--step", "1", "--limit", "1"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out.find("step 1  countdown3  "), 0u) << result.out;
  EXPECT_NE(result.out.find("\n    <think>"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("1 of 18 answers of step 1\n"), std::string::npos) << result.out;
}

TEST_F(CliSamples, ADifferenceHasTheSameProblemsAtBothSteps) {
  const Json json = json_of({"--step", "4", "--diff", "2", "--limit", "100"});
  EXPECT_EQ(json.get_int("matching"), 20) << "those of the [[eval]]";
  bool unchanged = false;
  for (const Json& p : json.at("problems").items()) {
    const Json &before = p.at("before").at(size_t{0}), &after = p.at("after").at(size_t{0});
    EXPECT_EQ(before.get_string("question"), after.get_string("question"));
    EXPECT_EQ(before.get_int("step"), 2);
    EXPECT_EQ(after.get_int("step"), 4);
    const bool changed = before.get_bool("correct") != after.get_bool("correct");
    EXPECT_FALSE(changed && unchanged) << "changed verdicts come first";
    unchanged = unchanged || !changed;
  }
  EXPECT_NE(samples({"--step", "4", "--diff", "2"}).out.find("problems that were asked at steps 2 and 4"),
            std::string::npos);
}

TEST_F(CliSamples, MistakesAreOneClearLine) {
  EXPECT_ONE_LINE_ERROR(samples({"--step", "3"}), "--step is 3; there are samples of steps 1, 2, 4");
  EXPECT_ONE_LINE_ERROR(samples({"--step", "4", "--diff", "1"}),
                        "no problem was asked at step 1 and at step 4");
  EXPECT_ONE_LINE_ERROR(samples({"--diff", "4"}), "--diff is 4, which is the step that is shown");
  EXPECT_ONE_LINE_ERROR(samples({"--limit", "0"}), "--limit is 0; it must be between 1");
  EXPECT_ONE_LINE_ERROR(samples({"--wrong", "--right"}), "not both");
  EXPECT_ONE_LINE_ERROR(r1_run({"samples", (scratch() / "nowhere").string()}), "is no folder of a run");
  EXPECT_ONE_LINE_ERROR(r1_run({"samples", scratch().string()}), "holds several stages: name one of");
}

TEST_F(CliSamples, ControlCharactersAreMadeVisible) {
  const std::string file = write(
      "evil.jsonl",
      "{\"step\":1,\"question\":\"a\\u001b[2J\",\"text\":\"<think>\\u001b]0;x\\u0007</think>b\",\"correct\":"
      "false,\"why\":\"\\u001b[31m\"}\n");
  const Result result = r1_run({"samples", file});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(result.out.find('\x07'), std::string::npos);
  EXPECT_NE(result.out.find("\u241b[2J"), std::string::npos) << result.out;
}

TEST(CliSet, AResumedRunMustHaveTheSameSettings) {
  const std::string config = config_of("set.toml"), out = (scratch() / "set-run").string();
  ASSERT_EQ(
      r1_run({"grpo", config, "--out", out, "--set", "optimizer.steps=1", "--set", "rollout.group=4"}).status,
      0);
  EXPECT_EQ(read_json(fs::path(out) / "run.json").at("settings").get_int("rollout.group"), 4);
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", config, "--out", out, "--set", "optimizer.steps=2", "--resume"}),
                        "rollout.group is 6, the run was begun with 4");
  const Result more = r1_run(
      {"grpo", config, "--out", out, "--set", "optimizer.steps=2", "--set=rollout.group=4", "--resume"});
  EXPECT_EQ(more.status, 0) << more.err;
}

TEST(CliSet, EveryCommandThatTakesAConfigurationHasIt) {
  for (const char* command : {"pretrain", "sft", "grpo", "ppo", "distill", "recipe", "preflight"}) {
    const Result result = r1_run({command, write("any.toml", "name = \"t\"\n"), "--set", "sead=3"});
    EXPECT_EQ(result.status, 2) << command;
    EXPECT_NE(r1_run({command, "--help"}).out.find("--set KEY=VALUE"), std::string::npos) << command;
  }
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", config_of("any.toml"), "--set", "sead=3"}),
                        "--set sead=3: unknown key sead (did you mean seed?)");
  EXPECT_ONE_LINE_ERROR(r1_run({"recipe", R1_SOURCE_DIR "/recipes/r1-nano.toml", "--set",
                                "zero.rollout.groop=3", "--out", (scratch() / "nano").string()}),
                        "--set rollout.groop=3: unknown key rollout.groop");
}

// The working directory is not the folder of the configuration.
TEST(CliSet, RelativePathsCountFromTheWorkingDirectory) {
  const fs::path near = fs::relative(kBase, fs::current_path());
  const Result result =
      r1_run({"preflight", config_of("rel.toml"), "--groups", "1", "--set", "model=" + near.string()});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_ONE_LINE_ERROR(
      r1_run({"preflight", config_of("rel.toml"), "--set", "model=no/model"}),
      "--set model=no/model: model is \"no/model\": no model is there (no/model has no config.json)");
}

}  // namespace
}  // namespace r1::test::watch_test
