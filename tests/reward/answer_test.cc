// Answers as tokens: the stop token is not text, a cut answer is never right, and thoughts are counted by
// their text.
#include "reward/answer.h"

#include <gtest/gtest.h>

#include "formats/json.h"
#include "text/byte_alphabet.h"

namespace r1::answer_test {
namespace {

class Answer : public testing::Test {
 protected:
  Tokenizer tokenizer = Tokenizer::load(R1_SOURCE_DIR "/models/r1-nano-base");
  Problem problem = countdown_task({.numbers = {3, 5, 9}, .target = 24}, 0);
  std::vector<int32_t> tokens(const std::string& text) const { return tokenizer.encode(text, false); }
  int32_t eos() const { return *tokenizer.id_of("<｜end▁of▁sentence｜>"); }
};

TEST_F(Answer, RightOnlyWhenItEnds) {
  std::vector<int32_t> t = tokens("<think>5*3=15+9=24 yes</think><answer>5*3+9</answer>");
  EXPECT_EQ(verify_answer(tokenizer, problem, t, false, "").why, "truncated");
  t.push_back(eos());
  EXPECT_TRUE(verify_answer(tokenizer, problem, t, true, "").correct);
}

TEST_F(Answer, StraySpecialTokensAreNotWellFormed) {
  std::vector<int32_t> t = tokens("<think>x</think><answer>5*3+9</answer>");
  t.insert(t.begin() + 2, *tokenizer.id_of("<｜User｜>"));
  t.push_back(eos());
  t.insert(t.end() - 1, *tokenizer.id_of("<｜User｜>"));
  EXPECT_FALSE(verify_answer(tokenizer, problem, t, true, "").well_formed);
}

TEST_F(Answer, AThoughtOpenedByThePromptIsPartOfTheResponse) {
  const auto verdict = [&](const std::string& text, std::string_view opening) {
    std::vector<int32_t> t = tokens(text);
    t.push_back(eos());
    return verify_answer(tokenizer, problem, t, true, opening);
  };
  const std::string rest = "5*3=15+9=24 yes</think><answer>5*3+9</answer>";
  EXPECT_TRUE(verdict(rest, "<think>\n").correct);
  EXPECT_EQ(verdict(rest, "").why, "no_think");
  EXPECT_TRUE(verdict("<think>" + rest, "<think>").correct) << "a tag that the model repeats counts once";
  EXPECT_TRUE(verdict("\n<think>" + rest, "<think>").correct);
  EXPECT_EQ(verdict("x<think>" + rest, "<think>").why, "repeated_tag");
  EXPECT_EQ(verdict("<answer>5*3+9</answer>", "<think>").why, "tags_out_of_order");
}

TEST_F(Answer, ThinkingTokensLieBetweenTheTags) {
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("<think>1+2=3</think><answer>1</answer>"), false), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("1+2=3</think>"), true), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("<think>1+2=3</think>"), true), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("<think>1+2=3"), false), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("1+2=3"), true), 5);
  EXPECT_EQ(thinking_tokens(tokenizer, tokens("1+2=3</think>"), false), 0) << "no thought was opened";
  EXPECT_EQ(thinking_tokens(tokenizer, {}, false), 0);
  EXPECT_EQ(thinking_tokens(tokenizer, {}, true), 0);
}

// The vocabulary has bytes and five longer tokens. No tag is a token of its own, and two tags share tokens
// with neighbours.
TEST(Thinking, TokensAreCountedByTextWhateverTheTagsAreMadeOf) {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    const char text[] = {static_cast<char>(byte)};
    vocab.set(bytes_to_letters(std::string_view(text, 1)), byte);
  }
  int32_t next = 256;
  for (const char* glued : {"think", ">\n", "x</", ">1", "k>"}) vocab.set(bytes_to_letters(glued), next++);
  Json model = Json::object(), json = Json::object();
  model.set("type", "BPE").set("vocab", std::move(vocab)).set("merges", Json::array());
  json.set("model", std::move(model));
  json.set("pre_tokenizer", parse_json(R"({"type": "ByteLevel", "add_prefix_space": false})", "test"));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  const int32_t think = 256, end_line = 257, close = 258, end_one = 259;
  const std::vector<int32_t> opened = {'<', think, end_line};                // "<think>\n"
  const std::vector<int32_t> thought = {'a', 0xC3, 0xA9, 0xC3, 'b', close};  // "aé", half a character, "bx</"
  const std::vector<int32_t> closed = {think, end_one, '<', '2'};            // "think>1<2"
  std::vector<int32_t> whole = opened;
  whole.insert(whole.end(), thought.begin(), thought.end());
  whole.insert(whole.end(), closed.begin(), closed.end());
  EXPECT_EQ(tokenizer.decode(whole), "<think>\naé\uFFFDbx</think>1<2");
  EXPECT_EQ(thinking_tokens(tokenizer, whole, false), 6);
  std::vector<int32_t> rest(whole.begin() + 3, whole.end());
  EXPECT_EQ(thinking_tokens(tokenizer, rest, true), 6);
  EXPECT_EQ(thinking_tokens(tokenizer, rest, false), 0);
}

}  // namespace
}  // namespace r1::answer_test
