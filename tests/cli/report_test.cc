// `r1 report` as a user calls it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cli/cli_test_util.h"

namespace r1::report_test {
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
  const auto result = r1_run({"recipe", recipe, "--out", out.string(), "--seed", "3", "--force"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("the report is " + (out / "report.html").string()), std::string::npos)
      << result.err;
  EXPECT_EQ(read_file(out / "recipe.toml"), "# A copy of " + recipe + "\n" + read_file(recipe));
  const std::string page = read_file(out / "report.html");
  EXPECT_NE(page.find("r1 recipe " + recipe + " --seed 3 --out " + out.string()), std::string::npos);
  EXPECT_NE(page.find("\"missing\":[]"), std::string::npos) << page.substr(page.find("\"missing\""), 400);
}

// Runs the commands under "how to repeat it" of a page in a shell, in the folder where the run was started.
test::Result repeat(const std::filesystem::path& page, const std::filesystem::path& folder) {
  const std::string text = read_file(page), open = R"(<script type="application/json" id="data">)";
  const size_t begin = text.find(open) + open.size();
  const Json data = parse_json(text.substr(begin, text.find("</script", begin) - begin), "page");
  std::string script = "set -e\ncd '" + folder.string() + "'\nexport PATH='" +
                       std::filesystem::path(R1_BINARY).parent_path().string() + "':\"$PATH\"\n";
  for (const Json& line : data.at("runs").at(size_t{0}).at("repeat").at("commands").items())
    script += line.string() + "\n";
  const std::string file = test::write("repeat.sh", script), log = (scratch() / "repeat.log").string();
  test::Result result;
  result.status = std::system(("sh '" + file + "' > '" + log + "' 2>&1").c_str());
  result.err = read_file(log);
  return result;
}

TEST(CliReport, HowToRepeatItWorksAsPrinted) {
  const std::filesystem::path folder = scratch() / "started here";
  std::filesystem::create_directories(folder / "my recipes");
  const std::string base = std::string(R1_SOURCE_DIR).append("/models/r1-nano-base");
  write_file_atomically(
      folder / "my recipes/zero.toml",
      "name = \"zero\"\nmodel = \"" + base +
          "\"\n[rollout]\nprompts = 3\ngroup = 4\nmax_tokens = 40\n[optimizer]\nlr = 1e-3\nsteps = 2\n");
  write_file_atomically(
      folder / "my recipes/all.toml",
      "name = \"small\"\n[[stage]]\nname = \"zero\"\nkind = \"grpo\"\nconfig = \"zero.toml\"\n");
  const std::string r1 = R1_BINARY;
  const auto start = [&](const std::string& command) {
    return std::system(
        ("cd '" + folder.string() + "' && '" + r1 + "' " + command + " >/dev/null 2>&1").c_str());
  };
  ASSERT_EQ(start("recipe 'my recipes/all.toml' --seed 5"), 0);
  ASSERT_EQ(start("report runs/small"), 0);
  const auto again = repeat(folder / "runs/small/report.html", folder);
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_TRUE(read_file(folder / "runs/small/zero/model/model.safetensors") ==
              read_file(folder / "runs/small-again/zero/model/model.safetensors"));
  // A stage that is run by itself.
  ASSERT_EQ(start("grpo 'my recipes/zero.toml' --out 'runs/just zero'"), 0);
  ASSERT_EQ(start("report 'runs/just zero'"), 0);
  const auto stage = repeat(folder / "runs/just zero/report.html", folder);
  ASSERT_EQ(stage.status, 0) << stage.err;
  EXPECT_TRUE(read_file(folder / "runs/just zero/model/model.safetensors") ==
              read_file(folder / "runs/just zero-again/model/model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(folder / "runs/just zero-again/report.html"));
}

TEST(CliReport, SeveralRunsMakeOnePageInTheWorkingDirectory) {
  const std::filesystem::path one = run_of_one_step(), two = scratch() / "other-kind";
  std::filesystem::create_directories(two);
  write_file_atomically(two / "eval.json", R"({"task":"countdown3","pass_at_1":0.5})");
  const auto named =
      r1_run({"report", one.string(), two.string(), "--output", (scratch() / "both.html").string()});
  ASSERT_EQ(named.status, 0) << named.err;
  EXPECT_NE(read_file(scratch() / "both.html").find("one-step, other-kind"), std::string::npos);
  const std::filesystem::path here = scratch() / "here";
  std::filesystem::create_directories(here);
  const auto plain = [&] {
    return std::system(("cd '" + here.string() + "' && '" + std::string(R1_BINARY) + "' report '" +
                        one.string() + "' '" + two.string() + "' > out 2> err")
                           .c_str());
  };
  ASSERT_EQ(plain(), 0) << read_file(here / "err");
  EXPECT_EQ(read_file(here / "out"), "report.html\n");
  ASSERT_EQ(plain(), 0) << "its own page is made again";
  write_file_atomically(here / "report.html", "somebody's");
  EXPECT_NE(plain(), 0);
  EXPECT_EQ(read_file(here / "report.html"), "somebody's");
  EXPECT_EQ(read_file(here / "err").find("r1: report.html: is there, and is not a page of r1 report"), 0u);
}

// In a browser the page's script runs to the end, and hostile strings remain text.
TEST(CliReport, ABrowserShowsThePage) {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "chromium is not installed: the page is NOT LOOKED AT";
  const std::filesystem::path run = scratch() / "seen";
  std::filesystem::create_directories(run);
  const std::string hostile = "</script><img src=x onerror=alert(1)>";
  Json figures = Json::object().set("task", "countdown3").set("pass_at_1", 0.5).set("pass_at_4", 0.75);
  figures.set("low", 0.4).set("high", 0.6).set("problems", 2).set("samples", 1).set("model", hostile);
  write_file_atomically(run / "eval.json", figures.dump());
  std::string rows;
  for (const int problem : {0, 1, 2}) {
    Json row = Json::object().set("problem", problem).set("sample", 0).set("question", hostile);
    row.set("text", "<think>x</think><answer>" + hostile + "</answer>").set("correct", problem == 0);
    row.set("why", "wrong_value").set("finish_reason", problem == 0 ? "stop" : "length").set("tokens", 77);
    rows += row.dump() + "\n";
  }
  write_file_atomically(run / "samples.jsonl", rows);
  write_file_atomically(run / "metrics.jsonl",
                        "{\"step\":1,\"loss\":0.1,\"accuracy\":0.2,\"reward\":0.2}\n{\"step\":2,\"loss\":0.3,"
                        "\"accuracy\":0.4,\"reward\":0.4}\n");
  write_file_atomically(
      run / "run.json",
      R"({"kind":"grpo","settings":{"rollout.prompts":12,"rollout.group":34,"reward.accuracy":1}})");
  ASSERT_EQ(r1_run({"report", run.string()}).status, 0);
  const std::string dom = (scratch() / "dom").string();
  const std::string command =
      "timeout 120 chromium --headless --no-sandbox --disable-gpu --virtual-time-budget=5000 "
      "--dump-dom 'file://" +
      (run / "report.html").string() + "' > '" + dom + "' 2>/dev/null";
  if (std::system(command.c_str()) != 0)
    GTEST_SKIP() << "chromium does not run here: the page is NOT LOOKED AT";
  const std::string page = read_file(dom);
  const std::string seen = page.substr(0, page.find("<script"));
  for (const char* text : {"The game: countdown", "The method: GRPO", "12 problems, 34 times each", "pass@k",
                           "Why accuracy stops where it stops", "cut off at 77 tokens", "cannot exceed 0.333",
                           "The loss is not the thing to watch", "from 0.2 to 0.4", "How to repeat it"}) {
    EXPECT_NE(seen.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(seen.find("<img"), std::string::npos);
}

TEST(CliReport, BadInputIsOneLine) {
  EXPECT_ONE_LINE_ERROR(r1_run({"report", (scratch() / "nowhere").string()}), "there is no such directory");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", scratch().string()}), "is no run");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", run_of_one_step().string(), scratch().string()}), "is no run");
  EXPECT_ONE_LINE_ERROR(r1_run({"report", run_of_one_step().string(), run_of_one_step().string() + "/"}),
                        "is named twice");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"report", run_of_one_step().string(), "--output", (scratch() / "no/such/page.html").string()}),
      "no/such/page.html");
}

}  // namespace
}  // namespace r1::report_test
