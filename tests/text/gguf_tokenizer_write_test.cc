// A tokenizer that was written as GGUF's keys gives the ids of the tokenizer.json that it was made of.
#include "text/gguf_tokenizer_write.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf_file.h"
#include "tests/text/text_test.h"
#include "text/gguf_pretokenizers.h"
#include "text/gguf_tokenizer.h"

namespace r1::gguf_tokenizer_write_test {
namespace {

namespace fs = std::filesystem;

class GgufTokenizerWrite : public testing::Test {
 protected:
  GgufTokenizerWrite()
      : folder_(fs::path(testing::TempDir()) / ("r1_gguf_write_" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~GgufTokenizerWrite() override { fs::remove_all(folder_); }

  // The metadata of a file with the keys of the tokenizer in the folder.
  GgufMetadata written(int64_t vocab, std::vector<int32_t> stops, std::vector<std::string>* notes = nullptr) {
    GgufKeys keys;
    const std::vector<std::string> lines = write_gguf_tokenizer({folder_, vocab, stops, -1}, keys);
    if (notes != nullptr) *notes = lines;
    GgufWriter(folder_ / "m.gguf", keys, {}).close();
    return GgufFile(folder_ / "m.gguf").metadata();
  }
  void put(const char* name, const Json& json) { write_file_atomically(folder_ / name, json.dump()); }

  // GPT-2's rules with a few tokens.
  static Json small() {
    return parse_json(R"({"version": "1.0", "normalizer": null, "post_processor": null,
      "added_tokens": [{"id": 3, "content": "<s>", "special": true, "normalized": false},
                       {"id": 4, "content": "<end>", "special": true, "normalized": false},
                       {"id": 5, "content": "<think>", "special": false, "normalized": false}],
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
      "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})",
                      "small");
  }

  const fs::path folder_;
};

TEST_F(GgufTokenizerWrite, PublishedTokenizersComeBack) {
  R1_NEEDS(shared_data("tokenizers") / "deepseek-r1" / "tokenizer.json");
  const std::vector<std::string> texts = {
      "",
      "She's John's, WE'LL go; 12345678 apples (½)\n\n\n  and\t\ttabs\r\n",
      "<think>\nOkay</think>\n\n<｜User｜>hi",
      "我想在apple工作1314151天～ ひらがな 한국어 नमस्ते",
      "def f(x):\n    return x**2  # square\n",
      "\\frac{1}{2} = $\\sqrt{3}$!!!"};
  const std::pair<const char*, const char*> kNames[] = {{"deepseek-r1", "deepseek-v3"},
                                                        {"deepseek-r1-distill-llama", "llama-bpe"},
                                                        {"deepseek-r1-distill-qwen", "qwen2"}};
  for (const auto& [model, pre] : kNames) {
    fs::copy_file(shared_data("tokenizers") / model / "tokenizer.json", folder_ / "tokenizer.json",
                  fs::copy_options::overwrite_existing);
    const Tokenizer want = Tokenizer::load(folder_);
    const GgufMetadata metadata = written(want.vocab_size() + 8, {});
    EXPECT_EQ(metadata.get_string("tokenizer.ggml.pre"), pre) << model;
    EXPECT_EQ(metadata.strings("tokenizer.ggml.tokens").size(), static_cast<size_t>(want.vocab_size() + 8));
    const Tokenizer got = read_gguf_tokenizer(metadata);
    for (const std::string& text : texts)
      EXPECT_EQ(got.encode(text, false), want.encode(text, false)) << model << text;
    for (int32_t id = 0; id < want.vocab_size(); ++id) {
      ASSERT_EQ(got.token_of(id), want.token_of(id)) << model << " " << id;
      ASSERT_EQ(got.is_special(id), want.is_special(id)) << model << " " << id;
    }
  }
}

TEST_F(GgufTokenizerWrite, SentencePiecesComeBack) {
  const Json model = read_json(golden("sentencepiece.json")).at("legacy");
  put("tokenizer.json", model.at("tokenizer"));
  put("tokenizer_config.json", Json::object().set("bos_token", "<s>").set("eos_token", "</s>"));
  const Tokenizer want = Tokenizer::load(folder_);
  const GgufMetadata metadata = written(want.vocab_size() + 3, {2});
  EXPECT_EQ(metadata.get_string("tokenizer.ggml.model"), "llama");
  EXPECT_TRUE(metadata.get_bool("tokenizer.ggml.add_space_prefix"));
  EXPECT_EQ(metadata.integers("tokenizer.ggml.token_type")[0], 2);
  const Tokenizer got = read_gguf_tokenizer(metadata);
  size_t compared = 0;
  for (const Json& row : model.at("texts").items()) {
    const std::string& text = row.get_string("text");
    EXPECT_EQ(got.encode(text, false), want.encode(text, false)) << text;
    EXPECT_EQ(got.encode(text, true), want.encode(text, true)) << text;
    EXPECT_EQ(got.decode(want.encode(text, false)), want.decode(want.encode(text, false))) << text;
    ++compared;
  }
  EXPECT_GT(compared, 20u);
}

TEST_F(GgufTokenizerWrite, PiecesThatScoresDoNotGiveAreRefusedByName) {
  const Json whole = read_json(golden("sentencepiece.json"));
  put("tokenizer.json", whole.at("metaspace").at("tokenizer"));
  const std::string file = (folder_ / "tokenizer.json").string();
  const auto refusal = [&] {
    try {
      written(500, {});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_TRUE(
      refusal().starts_with(file + ": pre_tokenizer, normalizer and decoder are not those of Llama 2"))
      << refusal();
  Json tokenizer = whole.at("legacy").at("tokenizer");
  Json model = tokenizer.at("model"), merges = Json::array();
  for (const Json& merge : model.at("merges").items()) {
    if (merges.size() + 1 < model.at("merges").size()) merges.push_back(merge);
  }
  tokenizer.set("model", model.set("merges", merges));
  put("tokenizer.json", tokenizer);
  EXPECT_NE(refusal().find("does not follow from scores of the tokens"), std::string::npos) << refusal();
}

TEST_F(GgufTokenizerWrite, SpecialTokensAndTemplatesArePlaced) {
  Json tokenizer = small();
  tokenizer.set("post_processor", parse_json(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}})",
                                             "post"));
  put("tokenizer.json", tokenizer);
  put("tokenizer_config.json", parse_json(R"({"bos_token": "<s>", "eos_token": "<end>", "pad_token": "<s>",
    "chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})",
                                          "config"));
  std::vector<std::string> notes;
  const GgufMetadata metadata = written(8, {4, 2, 1, 0}, &notes);
  EXPECT_EQ(metadata.get_string("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.bos_token_id"), 3);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.eos_token_id"), 4);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.eot_token_id"), 2);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.eom_token_id"), 1);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.padding_token_id"), 3);
  EXPECT_TRUE(metadata.get_bool("tokenizer.ggml.add_bos_token"));
  EXPECT_FALSE(metadata.get_bool("tokenizer.ggml.add_eos_token"));
  EXPECT_EQ(metadata.integers("tokenizer.ggml.token_type"), (std::vector<int64_t>{1, 1, 1, 3, 3, 4, 5, 5}));
  EXPECT_EQ(metadata.strings("tokenizer.ggml.tokens").at(7), "[PAD7]");
  EXPECT_EQ(metadata.get_string("tokenizer.chat_template"), "D");
  EXPECT_EQ(metadata.get_string("tokenizer.chat_template.tool_use"), "T");
  EXPECT_EQ(metadata.strings("tokenizer.chat_templates"), (std::vector<std::string_view>{"tool_use"}));
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("4 tokens end an answer; GGUF has a place for 3 of them, so token 0"),
            std::string::npos)
      << notes[0];
  const Tokenizer got = read_gguf_tokenizer(metadata);
  EXPECT_EQ(got.encode("ab<think>a", true), (std::vector<int32_t>{3, 2, 5, 0}));
}

TEST_F(GgufTokenizerWrite, SpellingsThatCutAlikeHaveOneName) {
  Json tokenizer = small();
  EXPECT_EQ(gguf_pre_tokenizer_name(tokenizer), "gpt-2");
  Json sequence = Json::object();
  sequence.set("type", "Sequence")
      .set("pretokenizers", Json::array().push_back(tokenizer.at("pre_tokenizer")));
  EXPECT_EQ(gguf_pre_tokenizer_name(Json(tokenizer).set("pre_tokenizer", sequence)), "gpt-2");
  // Rules that the name does not have.
  EXPECT_EQ(gguf_pre_tokenizer_name(Json(tokenizer).set("normalizer", Json::object().set("type", "NFKC"))),
            "");
  Json spaced = tokenizer.at("pre_tokenizer");
  EXPECT_EQ(
      gguf_pre_tokenizer_name(Json(tokenizer).set("pre_tokenizer", spaced.set("add_prefix_space", true))),
      "");
  Json model = tokenizer.at("model");
  EXPECT_EQ(gguf_pre_tokenizer_name(Json(tokenizer).set("model", model.set("ignore_merges", true))), "");
  EXPECT_EQ(gguf_pre_tokenizer_name(Json::object()), "");
  // Every name that we read is found again, as itself or as one with the same rules.
  for (const std::string_view name : gguf_pre_tokenizer_names()) {
    const GgufPreTokenizer rules = gguf_pre_tokenizer(name);
    Json json = Json::object();
    json.set("pre_tokenizer", rules.pre_tokenizer).set("normalizer", rules.normalizer);
    json.set("model", Json::object().set("ignore_merges", rules.ignore_merges));
    const std::string_view found = gguf_pre_tokenizer_name(json);
    ASSERT_FALSE(found.empty()) << name;
    EXPECT_EQ(gguf_pre_tokenizer(found).pre_tokenizer.dump(), rules.pre_tokenizer.dump())
        << name << " " << found;
    EXPECT_EQ(gguf_pre_tokenizer(found).normalizer.dump(), rules.normalizer.dump()) << name << " " << found;
  }
}

TEST_F(GgufTokenizerWrite, WhatGgufCannotSayIsNamed) {
  Json tokenizer = small();
  Json added = tokenizer.at("added_tokens");
  added.push_back(Json::object().set("id", 6).set("content", "<x>").set("special", true).set("lstrip", true));
  put("tokenizer.json", Json(tokenizer).set("added_tokens", added));
  std::vector<std::string> notes;
  written(6, {}, &notes);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("lstrip, rstrip and single_word of <x> are not kept"), std::string::npos)
      << notes[0];
  EXPECT_NE(notes[1].find("its tokens from 6 to 6 are left out: the model has 6"), std::string::npos)
      << notes[1];
}

}  // namespace
}  // namespace r1::gguf_tokenizer_write_test
