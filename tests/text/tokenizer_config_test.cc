#include "text/tokenizer_config.h"

#include <fstream>

#include "base/error.h"
#include "tests/text/text_test.h"

namespace r1::tokenizer_config_test {
namespace {

TEST(TokenizerConfig, ReadsPublishedDirectories) {
  const auto configs = shared_data("configs");
  R1_NEEDS(configs);
  const TokenizerConfig r1 = load_tokenizer_config(configs / "DeepSeek-R1");
  EXPECT_EQ(r1.bos, "<｜begin▁of▁sentence｜>");
  EXPECT_EQ(r1.eos, "<｜end▁of▁sentence｜>");
  EXPECT_EQ(r1.add_bos, true);
  EXPECT_EQ(r1.model_max_length, 16384);
  const TokenizerConfig qwen = load_tokenizer_config(configs / "qwen2-7b");
  EXPECT_EQ(qwen.bos, "");
  EXPECT_EQ(qwen.eos, "<|im_end|>");
  const TokenizerConfig llama = load_tokenizer_config(configs / "llama-3-8b");
  EXPECT_FALSE(llama.model_max_length);
}

class Directory {
 public:
  Directory() : path_(std::filesystem::path(testing::TempDir()) / "r1_tokenizer_config_test") {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(TokenizerConfig, TheMapFillsInTokens) {
  const Directory directory;
  EXPECT_EQ(load_tokenizer_config(directory.path()).bos, "");
  directory.write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": null})");
  directory.write("special_tokens_map.json", R"({"bos_token": "<other>", "eos_token": {"content": "</s>"}})");
  const TokenizerConfig config = load_tokenizer_config(directory.path());
  EXPECT_EQ(config.bos, "<s>");
  EXPECT_EQ(config.eos, "</s>");
}

}  // namespace
}  // namespace r1::tokenizer_config_test
