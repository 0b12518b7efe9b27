#include "text/bpe_trainer.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "tests/text/text_test.h"
#include "text/tokenizer.h"

namespace r1::bpe_trainer_test {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::string> texts;
  Random random(7);
  for (int i = 0; i < 300; ++i) {
    const int64_t a = random.between(1, 99);
    const int64_t b = random.between(1, 99);
    texts.push_back("<think>Let me add " + std::to_string(a) + " and " + std::to_string(b) +
                    ". First the tens, then the " + "ones.\n" + std::to_string(a) + " + " +
                    std::to_string(b) + " = " + std::to_string(a + b) + "</think>\nThe answer is (" +
                    std::to_string(a + b) + ").\n");
  }
  texts.push_back("Wait, that is wrong; naïve 中文 🙂 other letters too.\n\n");
  return texts;
}

BpeTrainerOptions options() {
  return {.vocab_size = 290,
          .added = {{"<bos>"}, {"<eos>"}, {"<think>", false}, {"</think>", false}},
          .bos = "<bos>"};
}

std::string train(BpeTrainerOptions with, const std::vector<std::string>& texts) {
  BpeTrainer trainer(std::move(with));
  for (const std::string& text : texts) trainer.feed(text);
  return trainer.train();
}

TEST(BpeTrainer, WritesTheFileThatHuggingFaceReadAlike) {
  // trained.json has the ids that Hugging Face's tokenizers gives with trained_tokenizer.json.
  const std::string file = train(options(), corpus());
  if (std::getenv("R1_WRITE_GOLDEN") != nullptr)
    write_file_atomically(golden("trained_tokenizer.json"), file);
  EXPECT_EQ(file, read_file(golden("trained_tokenizer.json")));
  const Tokenizer tokenizer = Tokenizer::from_json(parse_json(file, "trained"));
  EXPECT_EQ(tokenizer.vocab_size(), 290);
  const Json cases = read_json(golden("trained.json"));
  for (const Json& row : cases.items()) {
    const std::string& text = row.get_string("text");
    EXPECT_EQ(tokenizer.encode(text, false), to_ids(row.at("ids"))) << text;
    EXPECT_EQ(tokenizer.encode(text, true), to_ids(row.at("post"))) << text;
    EXPECT_EQ(tokenizer.decode(to_ids(row.at("ids"))), row.get_string("decoded")) << text;
  }
}

TEST(BpeTrainer, DoesNotDependOnTheOrderOfTexts) {
  auto texts = corpus();
  const std::string file = train(options(), texts);
  Random(3).shuffle(texts);
  EXPECT_EQ(train(options(), texts), file);
}

TEST(BpeTrainer, SplitsDigitsAndKeepsAddedTokensWhole) {
  for (const bool first : {true, false}) {
    auto with = options();
    with.added_first = first;
    const Tokenizer tokenizer = Tokenizer::from_json(parse_json(train(with, corpus()), "trained"));
    EXPECT_EQ(tokenizer.id_of("<bos>"), first ? 0 : 286);
    EXPECT_EQ(tokenizer.encode("1234", false).size(), 4u);
    EXPECT_EQ(tokenizer.encode("<think>1</think>", true).size(), 4u);
    EXPECT_TRUE(tokenizer.is_special(*tokenizer.id_of("<eos>")));
    EXPECT_FALSE(tokenizer.is_special(*tokenizer.id_of("<think>")));
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      const std::string bytes = tokenizer.piece_bytes(id);
      if (bytes.size() < 2) continue;
      EXPECT_TRUE(std::none_of(bytes.begin(), bytes.end(), [](char c) { return c >= '0' && c <= '9'; }))
          << bytes;
    }
  }
}

TEST(BpeTrainer, MergesTheMostFrequentPairFirst) {
  // The words are abab x 3, ab x 2, bc x 7, so the counts are ab 8, bc 7, ba 3.
  const std::string file = train(
      {.vocab_size = 259}, {"abab", "abab", "abab", "ab", "ab", "bc", "bc", "bc", "bc", "bc", "bc", "bc"});
  const Json merges = parse_json(file, "trained").at("model").at("merges");
  ASSERT_EQ(merges.size(), 3u);
  EXPECT_EQ(merges.at(0).dump(), R"(["a","b"])");
  EXPECT_EQ(merges.at(1).dump(), R"(["b","c"])");
  EXPECT_EQ(merges.at(2).dump(), R"(["ab","ab"])");
}

TEST(BpeTrainer, BreaksTiesByLowestIds) {
  const std::string file = train({.vocab_size = 260}, {"xy", "xy", "ab", "ab", "ax", "ax"});
  const Json merges = parse_json(file, "trained").at("model").at("merges");
  EXPECT_EQ(merges.dump(), R"([["a","b"],["a","x"],["x","y"]])");
}

TEST(BpeTrainer, AgreesWithAPlainTrainerOnRandomTexts) {
  // The plain trainer recounts all pairs of all words before each merge.
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    std::vector<std::string> texts;
    for (int i = 0; i < 60; ++i) {
      std::string word;
      for (int64_t n = random.between(1, 12); n > 0; --n) word += static_cast<char>('a' + random.below(3));
      texts.push_back(word);
    }
    std::vector<std::vector<std::string>> words;
    for (const std::string& text : texts) {
      words.emplace_back();
      for (const char c : text) words.back().emplace_back(1, c);
    }
    std::vector<std::string> symbols;
    for (int i = 0; i < 256; ++i) symbols.emplace_back(1, static_cast<char>(i));
    const auto number = [&](const std::string& s) {
      return std::find(symbols.begin(), symbols.end(), s) - symbols.begin();
    };
    std::string want = "[";
    while (symbols.size() < 290) {
      std::map<std::pair<int64_t, int64_t>, int64_t> counts;
      for (const auto& word : words) {
        for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{number(word[i]), number(word[i + 1])}];
      }
      std::pair<int64_t, int64_t> best{-1, -1};
      int64_t most = 1;
      for (const auto& [pair, count] : counts) {
        if (count > most) {
          best = pair;
          most = count;
        }
      }
      if (most < 2) break;
      const std::string left = symbols[best.first];
      const std::string right = symbols[best.second];
      want += (want.size() > 1 ? ",[\"" : "[\"") + left + "\",\"" + right + "\"]";
      if (number(left + right) == static_cast<int64_t>(symbols.size())) symbols.push_back(left + right);
      for (auto& word : words) {
        std::vector<std::string> merged;
        for (size_t i = 0; i < word.size(); ++i) {
          const bool here = i + 1 < word.size() && word[i] == left && word[i + 1] == right;
          merged.push_back(here ? left + right : word[i]);
          if (here) ++i;
        }
        word = merged;
      }
    }
    EXPECT_EQ(parse_json(train({.vocab_size = 290}, texts), "trained").at("model").at("merges").dump(),
              want + "]")
        << seed;
  }
}

TEST(BpeTrainer, RefusesWhatCannotBe) {
  EXPECT_THROW(BpeTrainer({.vocab_size = 255}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 257, .added = {{"<a>"}, {"<b>"}}}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .added = {{"<a>"}, {"<a>"}}}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .added = {{"x"}}}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .bos = "<bos>"}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .pattern = "("}), Error);
}

}  // namespace
}  // namespace r1::bpe_trainer_test
