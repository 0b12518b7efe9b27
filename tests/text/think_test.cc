#include "text/think.h"

#include "base/random.h"
#include "tests/text/text_test.h"

namespace r1 {
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

}  // namespace
}  // namespace r1
