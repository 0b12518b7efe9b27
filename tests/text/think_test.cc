#include "text/think.h"

#include "base/ascii.h"
#include "base/random.h"
#include "formats/json.h"
#include "tests/text/text_test.h"

namespace r1::think_test {
namespace {

TEST(Think, SplitsThoughtFromAnswer) {
  const struct {
    const char* text;
    bool opened;
    const char* thought;
    const char* answer;
    bool has_thought;
    bool closed;
  } rows[] = {
      {"<think>\nlet me see\n</think>\n\n42", false, "let me see", "42", true, true},
      {"let me see\n</think>\n\n42", true, "let me see", "42", true, true},
      {"<think>\nagain</think>42", true, "again", "42", true, true},
      {"\n <think></think> 42 ", false, "", "42 ", true, true},
      {"just an answer", false, "", "just an answer", false, false},
      {" an answer with <think>x</think>", false, "", " an answer with <think>x</think>", false, false},
      {"<think>cut sho", false, "cut sho", "", true, false},
      {"cut </thin", true, "cut </thin", "", true, false},
      {"<thin", false, "", "<thin", false, false},
      {"", false, "", "", false, false},
      {"", true, "", "", true, false},
      {"<think>a</think>b</think>c<think>", false, "a", "b</think>c<think>", true, true},
      {"<think>a < b <</think>c", false, "a < b <", "c", true, true},
  };
  for (const auto& row : rows) {
    const ThinkSplit got = split_think(row.text, row.opened);
    EXPECT_EQ(got.thought, row.thought) << row.text;
    EXPECT_EQ(got.answer, row.answer) << row.text;
    EXPECT_EQ(got.has_thought, row.has_thought) << row.text;
    EXPECT_EQ(got.closed, row.closed) << row.text;
  }
}

TEST(Think, StreamsWhatItSplits) {
  const std::vector<std::string> parts = {"<think>", "</think>", "<", "/", "think>", "a", " ", "\n", "bc"};
  Random random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int64_t i = random.below(10); i > 0; --i) text += parts[random.below(9)];
    const bool opened = random.below(2) == 1;
    const ThinkSplit whole = split_think(text, opened);
    ThinkSplitter splitter(opened);
    std::string thought;
    std::string answer;
    const auto take = [&](const std::vector<ThinkPart>& got) {
      for (const ThinkPart& part : got) (part.is_thought ? thought : answer) += part.text;
    };
    for (size_t at = 0; at < text.size();) {
      const size_t size = static_cast<size_t>(random.between(1, 4));
      take(splitter.feed(text.substr(at, size)));
      at += size;
    }
    take(splitter.flush());
    EXPECT_EQ(thought, whole.thought) << text;
    EXPECT_EQ(answer, whole.answer) << text;
  }
}

TEST(Think, APromptOpensAThoughtIfItEndsWithTheTag) {
  const struct {
    const char* prompt;
    const char* opening;
  } rows[] = {
      {"<|User|>hi<|Assistant|><think>", "<think>"},
      {"<|User|>hi<|Assistant|><think>\n", "<think>\n"},
      {"<think> \r\n\t\n", "<think> \r\n\t\n"},
      {"<|Assistant|>", ""},
      {"<|Assistant|><think>\n\n</think>\n\n", ""},          // Qwen3 with enable_thinking = false
      {"<|User|>what does <think> mean?<|Assistant|>", ""},  // the user wrote the tag
      {"<|User|>say <think>\n<|Assistant|>", ""},
      {"<think>x", ""},
      {"</think>", ""},
      {"think>", ""},
      {"", ""},
      {" \n", ""},
  };
  for (const auto& row : rows) EXPECT_EQ(thought_opening(row.prompt), row.opening) << row.prompt;
}

TEST(Think, AWholeResponseHasTheTagOnce) {
  EXPECT_EQ(whole_response("a</think>b", "<think>\n"), "<think>\na</think>b");
  EXPECT_EQ(whole_response("<think>a</think>b", "<think>\n"), "<think>a</think>b");
  EXPECT_EQ(whole_response("\n<think>a</think>b", "<think>"), "\n<think>a</think>b");
  EXPECT_EQ(whole_response("a</think>b", ""), "a</think>b");
  EXPECT_EQ(whole_response("a <think>", "<think>"), "<think>a <think>");
  // If the prompt opened the thought, the prompt's part of the text is not written again.
  EXPECT_EQ(rest_of_response("<think>\na</think>b", "<think>\n"), "a</think>b");
  EXPECT_EQ(rest_of_response("<think>a</think>b", "<think>\n"), "a</think>b");
  EXPECT_EQ(rest_of_response("<think>\na</think>b", "<think>"), "\na</think>b");
  EXPECT_EQ(rest_of_response("<think>\n\n a</think>b", "<think>\n"), "\n a</think>b");
  EXPECT_EQ(rest_of_response(" <think>a", "<think>"), "a");
  EXPECT_EQ(rest_of_response("<think>a</think>b", ""), "<think>a</think>b");
  EXPECT_EQ(rest_of_response("no tag", "<think>\n"), "no tag");
  for (const std::string opening : {"<think>", "<think>\n"})
    for (const std::string text : {"a</think>b", "\n\na", "", "</think>", " x"})
      EXPECT_EQ(rest_of_response(whole_response(text, opening), opening), text);
}

TEST(Think, SpanHoldsTheThoughtThatTheSplitterFinds) {
  const std::vector<std::string> parts = {"<think>", "</think>", "<", "/", "think>", "a", " ", "\n", "bc"};
  Random random(2);
  int found = 0, closed = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (int64_t i = random.below(10); i > 0; --i) text += parts[random.below(9)];
    const bool opened = random.below(2) == 1;
    const ThinkSplit split = split_think(text, opened);
    const auto span = find_thought(text, opened);
    ASSERT_EQ(span.has_value(), split.has_thought) << text;
    if (!span) continue;
    EXPECT_EQ(trim(std::string_view(text).substr(span->begin, span->end - span->begin)), split.thought)
        << text;
    EXPECT_EQ(span->closed, split.closed) << text;
    ++found;
    closed += span->closed ? 1 : 0;
    // Verifiers see the same response with its own tag, without a prompt that opened a thought.
    EXPECT_EQ(split_think(whole_response(text, opened ? kThinkOpen : "")).thought, split.thought) << text;
  }
  EXPECT_GT(found, 1000);
  EXPECT_GT(closed, 300);
}

TEST(Think, TagsStayInTheTextEvenIfTheyAreSpecialTokens) {
  Json json = read_json(std::string(R1_SOURCE_DIR) + "/models/r1-nano-base/tokenizer.json");
  Json added = Json::array();
  for (const Json& one : json.at("added_tokens").items()) added.push_back(Json(one).set("special", true));
  json.set("added_tokens", std::move(added));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  const auto ids = tokenizer.encode("<｜User｜><think>1+2</think><answer>3<｜end▁of▁sentence｜>", false);
  ASSERT_TRUE(tokenizer.is_special(*tokenizer.id_of("<think>")));
  EXPECT_EQ(tokenizer.decode(ids, true), "1+23");
  EXPECT_EQ(response_text(tokenizer, ids), "<think>1+2</think>3");
}

}  // namespace
}  // namespace r1::think_test
