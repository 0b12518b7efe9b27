// r1 pull, list and rm as a user runs them, against a hub of the test's own; and MODEL arguments that name what
// was pulled.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "recipe/schema.h"
#include "tests/cli/cli_test_util.h"
#include "tests/cli/terminal_util.h"
#include "tests/formats/hub_test_server.h"
#include "tests/formats/json_schema.h"

namespace r1::pull_test {
namespace {

namespace fs = std::filesystem;
using test::r1_run;
using test::TestHub;

std::string schema_error(const char* schema, const std::string& json) {
  return test::SchemaValidator(schema_of(schema)).check(parse_json(json, "output"));
}

// A hub with a tiny model. The variables lead the program there, and its cache lies in the test's folder.
class CliPull : public testing::Test {
 protected:
  CliPull() {
    for (const auto& entry : fs::directory_iterator(test::tiny_llama()))
      hub.files[entry.path().filename().string()] = read_file(entry.path());
    hub.large = {"model.safetensors"};
    fs::remove_all(home);
    set("HF_ENDPOINT", hub.url());
    set("HF_HOME", home.string());
    for (const char* name :
         {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
          "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"})
      ::unsetenv(name);
  }
  ~CliPull() override {
    for (const char* name : {"HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE"}) ::unsetenv(name);
  }
  static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

  TestHub hub;
  const fs::path home = test::scratch() / "hf";
  const std::string name = TestHub::kRepo;
};

TEST_F(CliPull, APulledModelIsListedRunAndRemoved) {
  const auto pulled = r1_run({"pull", name, "--json"});
  ASSERT_EQ(pulled.status, 0) << pulled.err;
  EXPECT_EQ(schema_error("pull-output", pulled.out), "");
  const Json json = parse_json(pulled.out, "output");
  EXPECT_EQ(json.get_int("bytes"), json.get_int("downloaded"));
  const std::string path = json.get_string("path");
  EXPECT_EQ(read_file(path + "/config.json"), hub.files.at("config.json"));

  const std::vector<std::string> question = {"run",           "", "-p", "3 5 7", "--max-tokens", "8",
                                             "--temperature", "0"};
  auto by_name = question, by_path = question;
  by_name[1] = name;
  by_path[1] = test::tiny_llama();
  const auto answer = r1_run(by_name);
  EXPECT_EQ(answer.status, 0) << answer.err;
  EXPECT_EQ(answer.out, r1_run(by_path).out);

  const auto list = r1_run({"list", "--json"});
  EXPECT_EQ(schema_error("list-output", list.out), "") << list.out;
  const Json model = parse_json(list.out, "output").at("models").at(size_t{0});
  EXPECT_EQ(model.get_string("model") + "|" + model.get_string("family"), name + "|llama");
  EXPECT_EQ(model.at("can").size(), 4u);
  EXPECT_NE(r1_run({"list"}).out.find(name), std::string::npos);

  EXPECT_ONE_LINE_ERROR(r1_run({"rm", name}), "there is no terminal: add --yes");
  const auto removed = r1_run({"rm", name, "--yes", "--json"});
  EXPECT_EQ(removed.status, 0) << removed.err;
  EXPECT_EQ(schema_error("rm-output", removed.out), "");
  EXPECT_FALSE(fs::exists(path));
  EXPECT_ONE_LINE_ERROR(r1_run({"rm", name, "--yes"}), "is not in the cache");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", name, "-p", "x"}), "download it with: r1 pull " + name);
  EXPECT_ONE_LINE_ERROR(r1_run({"score", name, "--input", "-"}), "download it with: r1 pull " + name);
}

TEST_F(CliPull, AModelThatR1CannotReadIsListedWithTheReason) {
  hub.files["config.json"] = R"({"model_type": "mamba"})";
  ASSERT_EQ(r1_run({"pull", name}).status, 0);
  const Json model = parse_json(r1_run({"list", "--json"}).out, "output").at("models").at(size_t{0});
  EXPECT_EQ(model.at("can").size(), 0u);
  EXPECT_NE(model.get_string("why_not").find("mamba"), std::string::npos);
}

TEST_F(CliPull, EveryErrorIsOneLine) {
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", "nonsense"}), "is no name of a model on the hub");
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", "../x/y"}), "is no name of a model on the hub");
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", "r1-tests/other"}), "has no such model");
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", name, "--connections", "0"}), "it must be between 1 and 32");
  hub.listing = "<!doctype html><html>sign in</html>";
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", name}), "returned an HTML page where JSON was due");
  set("HF_HUB_OFFLINE", "1");
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", name}), "HF_HUB_OFFLINE forbids");
  ::unsetenv("HF_HUB_OFFLINE");
  // No name server is asked for a label of more than 63 characters.
  const std::string no_host = std::string(64, 'x') + ".invalid";
  set("HF_ENDPOINT", "https://" + no_host);
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", name}), "the host " + no_host + " is not found");
  set("HF_ENDPOINT", "ftp://x");
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", name}),
                        "HF_ENDPOINT: ftp://x does not begin with http:// or https://");
}

TEST_F(CliPull, TheTokenIsReadFromTheVariableOrTheFile) {
  hub.token = "hf_abc";
  EXPECT_ONE_LINE_ERROR(r1_run({"pull", name}), "HF_TOKEN");
  test::write("hf-token", "hf_abc\n");
  set("HF_TOKEN", "hf_abc");
  EXPECT_EQ(r1_run({"pull", name}).status, 0);
  ::unsetenv("HF_TOKEN");
  fs::remove_all(home);
  fs::create_directories(home);
  fs::copy(test::scratch() / "hf-token", home / "token");
  EXPECT_EQ(r1_run({"pull", name}).status, 0);
}

TEST_F(CliPull, CtrlCSaysHowToGoOnAndTheNextPullDoes) {
  // A file that ends in the middle, again and again, keeps the pull busy.
  hub.files["model.safetensors"] = std::string(40 << 20, 'x');
  hub.cut_every = 1;
  hub.cut_after = 4096;
  const test::Started started = test::start(test::r1_words({"pull", name}), "pull");
  while (hub.fetched().size() < 4) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(started.pid, SIGINT);
  const test::Result result = test::finish(started);
  EXPECT_EQ(result.status, 128 + SIGINT) << result.err;
  EXPECT_NE(result.err.find("To go on: r1 pull " + name), std::string::npos) << result.err;
  hub.cut_every = 0;
  const auto again = r1_run({"pull", name});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(read_file(fs::path(again.out.substr(0, again.out.size() - 1)) / "model.safetensors"),
            hub.files["model.safetensors"]);
}

TEST_F(CliPull, OnATerminalRunOffersToPull) {
  {
    test::Terminal terminal({"run", name, "-p", "3 5 7", "--max-tokens", "4"});
    terminal.read_until("is not in the cache");
    terminal.read_until("[y/N] ");
    terminal.type("n\n");
    terminal.read_until("download it with: r1 pull " + name);
  }
  EXPECT_FALSE(fs::exists(home / "hub"));
  test::Terminal terminal({"run", name, "-p", "3 5 7", "--max-tokens", "4"});
  terminal.read_until("[y/N] ");
  terminal.type("y\n");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_TRUE(fs::exists(home / "hub" / "models--r1-tests--model" / "refs" / "main"));
}

TEST_F(CliPull, AConfigurationMayNameAPulledModel) {
  const std::string data = test::write("rows.jsonl", "{\"question\": \"1+1?\", \"answer\": \"2\"}\n");
  const std::string config =
      test::write("pulled.toml", "name = \"p\"\nmodel = \"" + name + "\"\n[data]\nfiles = [\"" + data +
                                     "\"]\n[optimizer]\nlr = 1e-3\nsteps = 2\n");
  EXPECT_ONE_LINE_ERROR(r1_run({"data", "show", config, "--kind", "sft"}),
                        "download it with: r1 pull " + name);
  ASSERT_EQ(r1_run({"pull", name}).status, 0);
  const auto shown = r1_run({"data", "show", config, "--kind", "sft"});
  EXPECT_EQ(shown.status, 0) << shown.err;
}

}  // namespace
}  // namespace r1::pull_test
