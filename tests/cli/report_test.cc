// `r1 report` as a user calls it.
#include <gtest/gtest.h>

#include "tests/cli/cli_test_util.h"

namespace r1 {
namespace {

using test::r1_run;
using test::scratch;

std::filesystem::path run_of_one_step() {
  const std::filesystem::path run = scratch() / "one-step";
  std::filesystem::create_directories(run);
  write_file_atomically(run / "metrics.jsonl", "{\"step\":1,\"loss\":2.5}\n");
  return run;
}

TEST(CliReport, WritesThePageAndSaysWhere) {
  const std::filesystem::path run = run_of_one_step();
  const auto plain = r1_run({"report", run.string()});
  ASSERT_EQ(plain.status, 0) << plain.err;
  EXPECT_EQ(plain.out, (run / "report.html").string() + "\n");
  EXPECT_TRUE(read_file(run / "report.html").starts_with("<!doctype html>"));
  const std::string other = (scratch() / "other.html").string();
  const auto json = r1_run({"report", run.string(), "--output", other, "--json"});
  ASSERT_EQ(json.status, 0) << json.err;
  EXPECT_EQ(parse_json(json.out, "out").get_string("report"), other);
  EXPECT_EQ(read_file(other), read_file(run / "report.html"));
}

TEST(CliReport, ARecipeLeavesItsReport) {
  const std::string base = std::string(R1_SOURCE_DIR) + "/models/r1-nano-base";
  test::write(
      "zero.toml",
      "name = \"zero\"\n[rollout]\nprompts = 2\ngroup = 2\nmax_tokens = 20\n[optimizer]\nsteps = 2\n");
  const auto exam = [](const std::string& name, const std::string& model) {
    return "[[stage]]\nname = \"" + name + "\"\nkind = \"eval\"\nmodel = \"" + model +
           "\"\ntask = \"countdown3\"\nproblems = 3\nsamples = 2\nmax_tokens = 20\n";
  };
  const std::string recipe = test::write(
      "recipe.toml", "name = \"small\"\n" + exam("before", base) +
                         "[[stage]]\nname = \"zero\"\nkind = \"grpo\"\nconfig = \"zero.toml\"\nmodel = \"" +
                         base + "\"\n" + exam("after", "@zero"));
  const std::filesystem::path out = scratch() / "small";
  const auto result = r1_run({"recipe", recipe, "--out", out.string(), "--seed", "3"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("the report is " + (out / "report.html").string()), std::string::npos)
      << result.err;
  EXPECT_EQ(read_file(out / "recipe.toml"), "# A copy of " + recipe + "\n" + read_file(recipe));
  const std::string page = read_file(out / "report.html");
  EXPECT_NE(page.find("r1 recipe " + recipe + " --seed 3 --out " + out.string()), std::string::npos);
  EXPECT_NE(page.find("\"missing\":[]"), std::string::npos) << page.substr(page.find("\"missing\""), 400);
}

TEST(CliReport, BadInputIsOneLine) {
  EXPECT_ONE_LINE_ERROR(r1_run({"report", (scratch() / "nowhere").string()}), "there is no such directory");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", scratch().string()}), "is no run");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"report", run_of_one_step().string(), "--output", (scratch() / "no/such/page.html").string()}),
      "no/such/page.html");
}

}  // namespace
}  // namespace r1
