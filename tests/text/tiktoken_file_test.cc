// A directory with a tiktoken.model and no tokenizer.json, as Moonlight and Kimi are published.
#include "text/tiktoken_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/text/text_test.h"

namespace r1::tiktoken_file_test {
namespace {

namespace fs = std::filesystem;

class TiktokenFile : public testing::Test {
 protected:
  TiktokenFile() : folder_(fs::path(testing::TempDir()) / ("r1_tiktoken_" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    write("tokenizer_config.json", read_json(golden("tiktoken.json")).at("config").dump());
    write("tiktoken.model", read_json(golden("tiktoken.json")).get_string("file"));
  }
  ~TiktokenFile() override { fs::remove_all(folder_); }
  void write(const char* name, const std::string& text) { write_file_atomically(folder_ / name, text); }
  std::string refusal(const char* name, const std::string& text) {
    write(name, text);
    try {
      Tokenizer::load(folder_);
    } catch (const Error& error) {
      std::string line = error.what();
      while (line.find(folder_.string()) != std::string::npos)
        line.replace(line.find(folder_.string()), folder_.string().size(), "DIR");
      return line;
    }
    return "";
  }

  fs::path folder_;
};

// The ids of the package tiktoken, with the words and special tokens of Moonlight's tokenization
// (tests/ref/tiktoken_golden.py).
TEST_F(TiktokenFile, GivesTiktokensIds) {
  const Json rows = read_json(golden("tiktoken.json"));
  const Tokenizer tokenizer = Tokenizer::load(folder_);
  EXPECT_EQ(tokenizer.vocab_size(), rows.get_int("vocab_size"));
  EXPECT_TRUE(tokenizer.warnings().empty());
  ASSERT_GT(rows.at("texts").size(), 15u);
  for (const Json& row : rows.at("texts").items()) {
    const std::vector<int32_t> ids = to_ids(row.at("ids"));
    EXPECT_EQ(tokenizer.encode(row.get_string("text"), true), ids) << row.get_string("text");
    EXPECT_EQ(tokenizer.decode(ids), row.get_string("text"));
  }
  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), rows.get_int("im_end"));
  EXPECT_TRUE(tokenizer.is_special(static_cast<int32_t>(rows.get_int("im_end"))));
}

TEST_F(TiktokenFile, BecomesATokenizerJsonWithTheSameIds) {
  const Tokenizer tokenizer = Tokenizer::load(folder_);
  const auto files = tiktoken_as_tokenizer_files(folder_);
  EXPECT_TRUE(has_tiktoken_file(folder_));
  for (const auto& [name, text] : files) write(name.c_str(), text);
  EXPECT_FALSE(has_tiktoken_file(folder_));
  const Tokenizer written = Tokenizer::load(folder_);
  EXPECT_EQ(written.vocab_size(), tokenizer.vocab_size());
  EXPECT_TRUE(written.warnings().empty());
  const Json rows = read_json(golden("tiktoken.json"));
  for (const Json& row : rows.at("texts").items())
    EXPECT_EQ(written.encode(row.get_string("text"), true), to_ids(row.at("ids"))) << row.get_string("text");
  const Json config = read_json(folder_ / "tokenizer_config.json");
  EXPECT_EQ(config.get_string("tokenizer_class"), "PreTrainedTokenizerFast");
  EXPECT_FALSE(config.contains("auto_map"));
}

TEST_F(TiktokenFile, NamesTheLineThatIsWrong) {
  EXPECT_EQ(refusal("tiktoken.model", "YQ== 0\nYg==\n"),
            "DIR/tiktoken.model:2: is not a token in base 64, a space and its rank");
  EXPECT_EQ(refusal("tiktoken.model", "YQ== 0\nYg== -1\n"),
            "DIR/tiktoken.model:2: has the rank -1; it must be between 0 and 4194045");
  EXPECT_EQ(refusal("tiktoken.model", "YQ== 0\nYg== 1x\n"),
            "DIR/tiktoken.model:2: has the rank 1x; it must be between 0 and 4194045");
  EXPECT_EQ(refusal("tiktoken.model", "Y!== 0\n"), "DIR/tiktoken.model:1: has a token that is not base 64");
  EXPECT_EQ(refusal("tiktoken.model", "YQ== 0\nYQ== 1\n"), "DIR/tiktoken.model: the vocabulary has a twice");
  EXPECT_EQ(refusal("tiktoken.model", "\n"), "DIR/tiktoken.model: has no tokens");
  EXPECT_EQ(refusal("tokenizer_config.json", R"({"tokenizer_class": "QWenTokenizer"})"),
            "DIR: has tiktoken.model and no tokenizer.json; only the tokenizer_class TikTokenTokenizer, "
            "Moonlight's and Kimi's, is read so, and tokenizer_config.json has QWenTokenizer");
}

}  // namespace
}  // namespace r1::tiktoken_file_test
