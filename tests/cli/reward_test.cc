// `r1 reward` and the reward rows of `r1 verify`.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"
#include "tests/formats/json_schema.h"
#include "tests/reward/reward_program.h"

namespace r1::reward_test {
namespace {

using test::r1_run;
using test::rows_of;
using test::write;

std::string config(const std::string& name, const std::string& more) {
  return write(name, "name = \"t\"\nmodel = \"" R1_SOURCE_DIR
                     "/models/r1-nano\"\n[optimizer]\nsteps = 3\n"
                     "[data]\ntask = \"arithmetic\"\n" +
                         more);
}

TEST(CliReward, ScoresAFileWithEveryTermInOrder) {
  const std::string file = config("r.toml", "[reward]\nformat = 0.5\nbrevity = 0.25\nlanguage = 1\n");
  const auto result = r1_run(
      {"reward", file, "--input", "-"},
      R"J({"question":"2+2?","gold":4,"response":"<think>two and two</think><answer>4</answer>","tokens":10,"id":"a"}
{"question":"2+2?","gold":4,"response":"<think>two 和 two</think><answer>4</answer>","tokens":30}
{"question":"2+2?","gold":"4","text":"<think>two","truncated":true}
{"question":"3+2?","answer":5,"text":"<think></think><answer>six</answer>"}
{"question":"3+2?","gold":5}
{"question":"3+2?","response":"5"}
nonsense
)J");
  EXPECT_EQ(result.status, 2) << result.err;
  const auto rows = rows_of(result.out);
  ASSERT_EQ(rows.size(), 7u) << result.out;
  EXPECT_EQ(rows[0].dump(),
            R"J({"row":0,"id":"a","status":"scored","correct":true,"why":"ok","reward":2.625,)J"
            R"J("terms":{"accuracy":1.0,"format":1.0,"brevity":0.5,"language":1.0}})J");
  EXPECT_EQ(rows[1].at("terms").get_number("brevity"), -0.5);
  EXPECT_EQ(rows[1].at("terms").get_number("language"), 2.0 / 3);
  EXPECT_EQ(rows[2].get_string("status"), "refused");
  EXPECT_EQ(rows[2].get_string("why"), "truncated");
  EXPECT_EQ(rows[3].get_string("why"), "bad_number:not_a_number");
  EXPECT_NE(rows[4].get_string("error").find("the row has no answer"), std::string::npos);
  EXPECT_NE(rows[5].get_string("error").find("the row has no gold"), std::string::npos);
  EXPECT_TRUE(rows[6].contains("error"));
  EXPECT_NE(result.err.find("4 samples in 2 groups: 2 scored, 2 refused, 0 verifier_failed; 2 correct"),
            std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("groups with signal: 1"), std::string::npos) << result.err;
}

TEST(CliReward, AProgramDecidesIfAccuracyHasNoWeight) {
  const auto section = [](const std::string& mode) {
    std::string words;
    for (const std::string& word : test::program(mode)) words += "'" + word + "', ";
    return "[reward]\naccuracy = 0\n[[reward.program]]\nname = 'check'\ncommand = [" + words +
           "]\nthreshold = 20\nmemory_mb = 0\n";
  };
  const std::string input = R"J({"question":"q","response":"<answer>1234567890</answer>"}
{"question":"q","response":"BAD"}
{"question":"q","response":"short"}
)J";
  const auto result = r1_run({"reward", config("p.toml", section("exit")), "--input", "-"}, input);
  EXPECT_EQ(result.status, 0) << result.err;
  const auto rows = rows_of(result.out);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_TRUE(rows[0].get_bool("correct"));
  EXPECT_EQ(rows[0].get_string("why"), "bytes 27");
  EXPECT_EQ(rows[1].get_string("status"), "verifier_failed");
  EXPECT_TRUE(rows[1].at("reward").is_null()) << "a failure is no zero";
  EXPECT_FALSE(rows[2].get_bool("correct"));
  EXPECT_EQ(rows[2].get_number("reward"), 5);
  EXPECT_NE(result.err.find("reward program check: "), std::string::npos) << result.err;

  const auto none = r1_run({"reward", config("n.toml", section("always_exit")), "--input", "-"}, input);
  EXPECT_EQ(none.status, 2);
  EXPECT_NE(
      none.err.find(
          "the verifier failed for every sample; the first: verifier_failed: check: it exited with status 1"),
      std::string::npos)
      << none.err;
}

TEST(CliReward, AConfigurationMayHaveEveryKeyOfATraining) {
  const auto result = r1_run(
      {"reward",
       config("v.toml", "[[eval]]\ntask = 'countdown3'\nevery = 2\n[checkpoint]\nbest = 'countdown3'\n"),
       "--input", "-"},
      R"J({"question":"2+2?","gold":4,"response":"<think></think><answer>4</answer>"})J");
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(CliReward, AgreesWithTheRunOnItsSamplesHoweverThePromptWasAsked) {
  for (const std::string think : {"free", "open", "off"}) {
    const std::string out = (test::scratch() / ("run-" + think)).string();
    const std::string file =
        write("think-" + think + ".toml",
              "name = \"t\"\nmodel = \"" R1_SOURCE_DIR "/models/r1-nano\"\nout = \"" + out +
                  "\"\n[data]\ntask = \"countdown3\"\n[prompt]\nthink = \"" + think +
                  "\"\n[reward]\nformat = 0.5\n[rollout]\nprompts = 3\ngroup = 6\nmax_tokens = 60\n"
                  "[optimizer]\nsteps = 1\n[log]\nsamples_every = 1\n");
    const auto run = r1_run({"grpo", file, "--force"});
    ASSERT_EQ(run.status, 0) << run.err;
    const auto samples = rows_of(read_file(out + "/samples.jsonl"));
    const auto judged = rows_of(r1_run({"reward", file, "--input", out + "/samples.jsonl"}).out);
    ASSERT_EQ(judged.size(), samples.size());
    int64_t well_formed = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      EXPECT_EQ(judged[i].get_bool("correct"), samples[i].get_bool("correct"))
          << think << " " << samples[i].dump();
      EXPECT_EQ(judged[i].get_string("why"), samples[i].get_string("why")) << think;
      EXPECT_EQ(judged[i].get_number("reward"), samples[i].get_number("reward")) << think;
      EXPECT_EQ(samples[i].get_bool_or("prompt_opened", false), think == "open");
      well_formed += judged[i].at("terms").get_number("format") > 0 ? 1 : 0;
    }
    EXPECT_TRUE(well_formed > 0 || think == "off") << think;
  }
}

TEST(CliReward, JudgesAnEvaluation) {
  std::string words;
  for (const std::string& word : test::program("length")) words += "'" + word + "', ";
  const std::string file =
      config("e.toml", "[reward]\naccuracy = 0\n[[reward.program]]\nname = 'check'\ncommand = [" + words +
                           "]\nthreshold = 60\nmemory_mb = 0\n");
  const std::string questions = write("questions.jsonl", R"J({"question":"Make 24 from 3, 5 and 9."}
{"question":"Make 10 from 2, 3 and 4."}
)J");
  const std::string output = (test::scratch() / "judged.jsonl").string();
  const auto result = r1_run({"eval", "r1-nano", "--task", questions, "--samples", "40", "--reward", file,
                              "--output", output, "--json", "--max-tokens", "100"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json summary = parse_json(result.out, "eval");
  EXPECT_EQ(summary.get_string("reward"), file);
  EXPECT_EQ(summary.get_int("verifier_failed"), 0);
  int64_t right = 0, wrong = 0;
  for (const Json& row : rows_of(read_file(output))) {
    const bool ended = row.get_string("finish_reason") == "stop";
    EXPECT_EQ(row.get_bool("correct"), ended && row.get_string("text").size() >= 60) << row.dump();
    ++(row.get_bool("correct") ? right : wrong);
  }
  EXPECT_EQ(right + wrong, 80) << "more than are judged together";
  EXPECT_GT(right, 0);
  EXPECT_GT(wrong, 0);
  const Json schema = parse_json(r1_run({"schema", "eval.json"}).out, "schema");
  EXPECT_EQ(test::SchemaValidator(schema).check(summary), "");

  EXPECT_ONE_LINE_ERROR(
      r1_run({"eval", "r1-nano", "--task", "countdown3", "--reward", file, "--output", file}), file);
  EXPECT_EQ(read_file(file).substr(0, 4), "name") << "the configuration is untouched";
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", "r1-nano", "--task", questions, "--held-out", "0.2"}),
                        "--held-out is given without --split");
}

TEST(CliReward, MistakesAreErrorsOfTheirLine) {
  const auto error = [](const std::string& more) {
    return r1_run({"reward", config("e.toml", more), "--input", "-"}).err;
  };
  EXPECT_NE(error("[reward]\nlanguage_target = 'english'\n")
                .find("e.toml:8: reward.language_target unknown language english"),
            std::string::npos);
  EXPECT_NE(error("[[reward.program]]\nname = 'x'\n").find("reward.program[0].command is missing"),
            std::string::npos);
  EXPECT_NE(error("[[reward.program]]\nname = 'x'\ncommand = ['sh']\nwait = 3\n")
                .find("unknown key reward.program[0].wait"),
            std::string::npos);
  EXPECT_NE(error("[[reward.program]]\nname = 'format'\ncommand = ['sh']\n")
                .find("is \"format\", which is another term's name"),
            std::string::npos);
  EXPECT_NE(
      error("[[reward.http]]\nname = 'x'\nurl = 'ftp://h'\n").find("must begin with http:// or https://"),
      std::string::npos);
}

TEST(CliVerify, RewardsOfATextAreItsTerms) {
  const auto result = r1_run({"verify", "--input", "-"},
                             R"J({"reward":"language","text":"<think>We add 我们把数 them.</think>"}
{"reward":"language","text":"Сложим числа","language":"ru"}
{"reward":"repetition","text":"a b a b a b","words":2}
{"reward":"repetition","text":"a b c d e f"}
{"reward":"length","text":"a b c","target":6}
{"reward":"length","text":"a b c","tokens":10,"others":[20,30]}
{"reward":"length","text":"a b c","tokens":10,"others":[20,30],"correct":false}
{"reward":"length","text":"a b c"}
{"reward":"lenght","text":"a"}
{"reward":"language","text":"a","langauge":"de"}
{"reward":"language","text":"a","language":"xx"}
{"task":"text","gold":["Paris"],"pred":"paris."}
{"task":"regex","gold":"[A-Z]+","pred":"abc"}
{"task":"json","gold":{"a":1},"pred":"{\"a\": 1.0}"}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = rows_of(result.out);
  ASSERT_EQ(rows.size(), 14u);
  const std::vector<double> scores = {0.6, 1, -0.6, 0, -0.5, 0.5, 0, 0};
  for (size_t i = 0; i < scores.size(); ++i) EXPECT_DOUBLE_EQ(rows[i].get_number("score"), scores[i]) << i;
  EXPECT_NE(rows[8].get_string("error").find("it must be format, language, repetition or length"),
            std::string::npos);
  EXPECT_NE(rows[9].get_string("error").find("did you mean language?"), std::string::npos);
  EXPECT_NE(rows[10].get_string("error").find("unknown language xx"), std::string::npos);
  EXPECT_TRUE(rows[11].get_bool("correct"));
  EXPECT_EQ(rows[12].get_string("why"), "no_match");
  EXPECT_TRUE(rows[13].get_bool("correct"));
}

}  // namespace
}  // namespace r1::reward_test
