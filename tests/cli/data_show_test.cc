// `r1 data show` prints the input of a configuration's model, with the trained tokens marked.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/cli/cli_test_util.h"

namespace r1::data_show_test {
namespace {

using test::r1_run;
using test::Result;
using test::write;

class DataShow : public testing::Test {
 protected:
  static void SetUpTestSuite() { model_ = test::make_model("data-show-model").string(); }
  static std::string config(const std::string& name, const std::string& data, const std::string& more = "") {
    return write(name + ".toml", "name = \"t\"\nmodel = \"" + model_ + "\"\n[data]\n" + data +
                                     "[optimizer]\nlr = 1e-3\nsteps = 2\n" + more);
  }
  static Result show(std::vector<std::string> words) {
    words.insert(words.begin(), {"data", "show"});
    std::vector<std::string> all{R1_BINARY};
    all.insert(all.end(), words.begin(), words.end());
    return test::finish(test::start(all, "show-"));
  }
  static inline std::string model_;
};

TEST_F(DataShow, MarksTheAnswerOfFineTuningAndItsEnd) {
  const std::string rows = write("rows.jsonl", "{\"question\": \"2+3?\", \"answer\": \"It is\\n#### 5\"}\n");
  const Result r =
      show({config("sft", "files = [\"" + rows + "\"]\nloss_on = \"answer\"\n"), "--kind", "sft"});
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("--- " + rows + ":1: "), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("<bos><|User|>2+3?<|Assistant|>«It is\n#### 5<eos>»\n"), std::string::npos) << r.out;
}

TEST_F(DataShow, MarksEveryAnswerOfAConversation) {
  const std::string rows =
      write("turns.jsonl", R"({"messages": [{"role": "user", "content": "2+3?"},)"
                           R"({"role": "assistant", "content": "5"}, {"role": "user", "content": "4+4?"},)"
                           R"({"role": "assistant", "content": "8"}]})");
  const std::string data = write(
      "turns.toml", "name = \"t\"\nmodel = \"" R1_SOURCE_DIR "/models/r1-nano-base\"\n[data]\nfiles = [\"" +
                        rows + "\"]\nloss_on = \"assistant\"\n[optimizer]\nlr = 1e-3\nsteps = 2\n");
  const Result r = show({data, "--kind", "sft"});
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("<｜User｜>2+3?<｜Assistant｜>«5<｜end▁of▁sentence｜>»<｜User｜>4+4?<｜Assistant｜>"
                       "«8<｜end▁of▁sentence｜>»\n"),
            std::string::npos)
      << r.out;
  EXPECT_NE(r.out.find("4 of them trained on"), std::string::npos) << r.out;
  const Result json = show({data, "--kind", "sft", "--json"});
  const Json shown = parse_json(json.out, "out").at("shown");
  ASSERT_EQ(shown.size(), 1u);
  std::string trained;
  for (const Json& token : shown.at(size_t{0}).at("tokens").items())
    trained += token.get_bool("trained") ? "1" : "0";
  EXPECT_TRUE(trained.ends_with("0011")) << trained;
  EXPECT_EQ(std::ranges::count(trained, '1'), 4) << trained;
}

TEST_F(DataShow, MarksAWholeTextButItsFirstToken) {
  const std::string text = write("a.txt", "3*5=15");
  const Result r =
      show({config("pretrain", "files = [\"" + text + "\"]\nmax_tokens = 4\n"), "--kind", "pretrain"});
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("<bos>«3*5=15<eos>»"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find(", cut into "), std::string::npos) << r.out;
}

TEST_F(DataShow, ShowsAPromptAsItIsAskedAndItsAnswer) {
  const std::string rows = write("p.jsonl", "{\"question\": \"2+3?\", \"answer\": \"5\"}\n");
  const Result r = show({config("grpo", "files = [\"" + rows + "\"]\n", "[prompt]\nthink = \"open\"\n")});
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find(", answer \"5\"\n<bos><|User|>2+3?<|Assistant|><think>\n"), std::string::npos)
      << r.out;
  EXPECT_EQ(r.out.find("«"), std::string::npos) << r.out;
}

TEST_F(DataShow, JsonHasEveryTokenWithItsFlags) {
  const std::string rows = write("rows.jsonl", "{\"question\": \"2+3?\", \"response\": \"5\"}\nnot JSON\n");
  const Result r = show({config("json", "files = [\"" + rows + "\"]\n"), "--kind", "sft", "--json"});
  ASSERT_EQ(r.status, 0) << r.err;
  const Json json = parse_json(r.out, "out");
  EXPECT_EQ(json.get_string("kind"), "sft");
  EXPECT_EQ(json.at("notes").size(), 2u);  // one about the used rows, one about the row that was left out
  const Json& tokens = json.at("shown").at(size_t{0}).at("tokens");
  EXPECT_EQ(tokens.at(size_t{0}).get_string("text"), "<bos>");
  EXPECT_TRUE(tokens.at(size_t{0}).get_bool("special"));
  EXPECT_FALSE(tokens.at(size_t{0}).get_bool("trained"));
  const Json &answer = tokens.at(tokens.size() - 2), &end = tokens.at(tokens.size() - 1);
  EXPECT_EQ(answer.get_string("text"), "5");
  EXPECT_TRUE(answer.get_bool("trained") && end.get_bool("trained"));
  EXPECT_EQ(end.get_string("text"), "<eos>");
}

TEST_F(DataShow, StopsAfterTheFirstDocuments) {
  std::string text;
  for (int i = 0; i < 9; ++i) text += "{\"question\": \"" + std::to_string(i) + "?\", \"response\": \"5\"}\n";
  const std::string path = config("stop", "files = [\"" + write("many.jsonl", text) + "\"]\n");
  const Result r = show({path, "--kind", "sft", "-n", "2"});
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("many.jsonl:2:"), std::string::npos);
  EXPECT_EQ(r.out.find("many.jsonl:3:"), std::string::npos);
  EXPECT_EQ(r.err, "");
}

TEST_F(DataShow, AFileThatFitsTwoCommandsAsksWhich) {
  const std::string rows = write("rows.jsonl", "{\"question\": \"2+3?\", \"response\": \"5\"}\n");
  const Result r = show({config("both", "files = [\"" + rows + "\"]\n")});
  EXPECT_EQ(r.status, 2);
  EXPECT_NE(r.err.find("may be a configuration of pretrain or sft or grpo: say which with --kind"),
            std::string::npos)
      << r.err;
  const Result bad = show({config("bad", "files = [\"" + rows + "\"]\nlimits = 3\n"), "--kind", "sft"});
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.err.find("did you mean data.limit?"), std::string::npos) << bad.err;
  EXPECT_EQ(show({config("n", "files = [\"" + rows + "\"]\n"), "-n", "0"}).err.find("-n is 0"), 4u);
}

}  // namespace
}  // namespace r1::data_show_test
