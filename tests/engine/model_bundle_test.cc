// A directory's files are read as one model: which tokens end an answer, which tokens the template uses,
// which tokenizers fit.
#include "engine/model_bundle.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace r1::model_bundle_test {
namespace {

namespace fs = std::filesystem;
const fs::path kShipped = fs::path(R1_SOURCE_DIR) / "models/r1-nano-base";

// The shipped model with changed files.
class Directory : public testing::Test {
 protected:
  Directory() : path_(fs::path(testing::TempDir()) / ("r1_model_bundle_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
    for (const auto& entry : fs::directory_iterator(kShipped))
      fs::create_symlink(entry.path(), path_ / entry.path().filename());
  }
  ~Directory() override { fs::remove_all(path_); }

  void write(const char* name, const Json& json) const {
    fs::remove(path_ / name);
    write_file_atomically(path_ / name, json.dump());
  }
  Json read(const char* name) const { return read_json(path_ / name); }
  ModelBundle load() const { return ModelBundle::load(path_); }
  std::string error_of_load() const {
    try {
      load();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  const fs::path path_;
};

TEST_F(Directory, AnswersEndWithEveryTokenThatAFileCallsTheEnd) {
  EXPECT_EQ(load().stop_tokens, std::vector<int32_t>{1});
  const Tokenizer tokenizer = Tokenizer::load(path_);
  write("generation_config.json",
        Json::object().set("eos_token_id", Json::array().push_back(9).push_back(7)));
  write("config.json", read("config.json").set("eos_token_id", 8));
  write("tokenizer_config.json", read("tokenizer_config.json").set("eos_token", tokenizer.token_of(20)));
  write("special_tokens_map.json",
        Json::object().set("eos_token", Json::object().set("content", tokenizer.token_of(21))));
  const ModelBundle bundle = load();
  EXPECT_EQ(bundle.stop_tokens, (std::vector<int32_t>{9, 7, 8, 20, 21}));
  EXPECT_EQ(bundle.eos, tokenizer.token_of(20));  // of the first file that names one
  EXPECT_TRUE(bundle.warnings.empty());
}

TEST_F(Directory, IdsOfConfigStandInForTokensThatNoTokenizerFileNames) {
  const Tokenizer tokenizer = Tokenizer::load(path_);
  Json config = Json::object();
  const Json shipped = read("tokenizer_config.json");
  for (const auto& [key, value] : shipped.members()) {
    if (key != "bos_token" && key != "eos_token") config.set(key, value);
  }
  write("tokenizer_config.json", config);
  EXPECT_EQ(load().bos, tokenizer.token_of(0));
  EXPECT_EQ(load().eos, tokenizer.token_of(1));
  // null is a setting: Qwen's tokenizers have no begin-of-text token, although config.json has an id.
  write("tokenizer_config.json", Json(config).set("bos_token", nullptr));
  EXPECT_EQ(load().bos, "");
  write("special_tokens_map.json", Json::object().set("bos_token", tokenizer.token_of(20)));
  write("tokenizer_config.json", config);
  EXPECT_EQ(load().bos, tokenizer.token_of(20));
}

TEST_F(Directory, SpecialTokensBeyondTheVocabularyAreNamedAndOthersAreAnotherModels) {
  Json tokenizer = read("tokenizer.json");
  Json added = tokenizer.at("added_tokens");
  const int64_t V = read("config.json").get_int("vocab_size");
  Json pad = added.at(0);
  added.push_back(pad.set("id", V).set("content", "[PAD]").set("special", true));
  write("tokenizer.json", Json(tokenizer).set("added_tokens", added));
  const ModelBundle bundle = load();
  ASSERT_EQ(bundle.warnings.size(), 1u);
  EXPECT_NE(bundle.warnings[0].find("special tokens from " + std::to_string(V)), std::string::npos);
  Json plain = tokenizer.at("added_tokens");
  write("tokenizer.json", Json(tokenizer).set("added_tokens", plain.push_back(pad.set("special", false))));
  EXPECT_NE(error_of_load().find("the tokenizer is of another model"), std::string::npos) << error_of_load();
}

TEST_F(Directory, WarningsOfAllFilesAreTold) {
  write("generation_config.json", Json::object().set("num_beams", 4).set("eos_token_id", 5000));
  write("config.json", read("config.json").set("eos_token_id", 6000));
  const ModelBundle bundle = load();
  ASSERT_EQ(bundle.warnings.size(), 3u);
  EXPECT_EQ(bundle.stop_tokens, std::vector<int32_t>{1});  // from tokenizer_config.json
  for (const std::string& line : bundle.warnings)
    EXPECT_NE(line.find(path_.string()), std::string::npos) << line;
}

}  // namespace
}  // namespace r1::model_bundle_test
