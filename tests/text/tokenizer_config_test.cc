#include "text/tokenizer_config.h"

#include <fstream>

#include "base/error.h"
#include "tests/text/text_test.h"

namespace r1 {
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

  const GenerationConfig generation = load_generation_config(configs / "DeepSeek-R1");
  EXPECT_EQ(generation.do_sample, true);
  EXPECT_EQ(generation.temperature, 0.6);
  EXPECT_EQ(generation.top_p, 0.95);
  EXPECT_EQ(generation.eos_token_ids, std::vector<int32_t>{1});
  const GenerationConfig qwen_generation = load_generation_config(configs / "qwen2-7b");
  EXPECT_EQ(qwen_generation.top_k, 20);
  EXPECT_EQ(qwen_generation.eos_token_ids, (std::vector<int32_t>{151645, 151643}));
  EXPECT_FALSE(load_generation_config(configs / "llama-3-8b").do_sample);
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

TEST(GenerationConfig, RefusesImpossibleValuesByName) {
  const Directory directory;
  for (const auto& [text, field] :
       std::vector<std::pair<std::string, std::string>>{{R"({"temperature": -1})", "temperature"},
                                                        {R"({"top_p": 1.5})", "top_p"},
                                                        {R"({"top_k": -2})", "top_k"},
                                                        {R"({"eos_token_id": [1, -5]})", "eos_token_id"},
                                                        {R"({"do_sample": "yes"})", "do_sample"}}) {
    directory.write("generation_config.json", text);
    try {
      load_generation_config(directory.path());
      ADD_FAILURE() << "accepted " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(field), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace r1
