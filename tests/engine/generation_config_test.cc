// Each field of generation_config.json is applied, ignored as in transformers and vLLM, or named in a
// warning.
#include "engine/generation_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "engine/sampling_config.h"
#include "formats/json.h"

namespace r1::generation_config_test {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kVocab = 100;

class GenerationConfigFile : public testing::Test {
 protected:
  GenerationConfigFile()
      : directory_(fs::path(testing::TempDir()) / ("r1_generation_config_" + std::to_string(::getpid()))) {
    fs::create_directories(directory_);
  }
  ~GenerationConfigFile() override { fs::remove_all(directory_); }

  GenerationConfig load(const std::string& text, int64_t vocab_size = kVocab) const {
    write_file_atomically(directory_ / "generation_config.json", text);
    return load_generation_config(directory_, vocab_size);
  }
  std::string error_of(const std::string& text) const {
    try {
      load(text);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  const fs::path directory_;
};

enum class Fate { applied, ignored, named };
struct Row {
  const char* name;
  const char* value;
  Fate fate;
};
// Every field that has a meaning in transformers 4.57 or 5.24, with a value other than its default.
const Row kFields[] = {
    {"max_length", "40", Fate::applied},
    {"max_new_tokens", "7", Fate::applied},
    {"min_length", "5", Fate::applied},
    {"min_new_tokens", "5", Fate::applied},
    {"do_sample", "false", Fate::applied},
    {"temperature", "0.6", Fate::applied},
    {"top_k", "20", Fate::applied},
    {"top_p", "0.9", Fate::applied},
    {"min_p", "0.1", Fate::applied},
    {"repetition_penalty", "1.05", Fate::applied},
    {"no_repeat_ngram_size", "3", Fate::applied},
    {"bad_words_ids", "[[1, 2], [3]]", Fate::applied},
    {"sequence_bias", "[[[1, 2], -2.5]]", Fate::applied},
    {"suppress_tokens", "[4, 5]", Fate::applied},
    {"begin_suppress_tokens", "[4]", Fate::applied},
    {"eos_token_id", "[7, 9]", Fate::applied},
    {"bos_token_id", "2", Fate::applied},
    // These fields select caches, compilation, outputs, assistants or beam lengths. No token depends on them.
    {"early_stopping", "true", Fate::ignored},
    {"length_penalty", "2.0", Fate::ignored},
    {"use_cache", "false", Fate::ignored},
    {"use_mtp", "true", Fate::ignored},
    {"cache_implementation", "\"static\"", Fate::ignored},
    {"cache_config", "{\"backend\": \"x\"}", Fate::ignored},
    {"max_cache_len", "9", Fate::ignored},
    {"return_legacy_cache", "true", Fate::ignored},
    {"prefill_chunk_size", "8", Fate::ignored},
    {"renormalize_logits", "true", Fate::ignored},
    {"remove_invalid_values", "true", Fate::ignored},
    {"output_attentions", "true", Fate::ignored},
    {"output_hidden_states", "true", Fate::ignored},
    {"output_scores", "true", Fate::ignored},
    {"output_logits", "true", Fate::ignored},
    {"return_dict_in_generate", "true", Fate::ignored},
    {"pad_token_id", "-1", Fate::ignored},
    {"decoder_start_token_id", "3", Fate::ignored},
    {"is_assistant", "false", Fate::ignored},
    {"num_assistant_tokens", "5", Fate::ignored},
    {"num_assistant_tokens_schedule", "\"constant\"", Fate::ignored},
    {"assistant_confidence_threshold", "0.5", Fate::ignored},
    {"prompt_lookup_num_tokens", "4", Fate::ignored},
    {"max_matching_ngram_size", "2", Fate::ignored},
    {"assistant_early_exit", "4", Fate::ignored},
    {"assistant_lookbehind", "4", Fate::ignored},
    {"target_lookbehind", "4", Fate::ignored},
    {"compile_config", "{\"mode\": \"x\"}", Fate::ignored},
    {"disable_compile", "true", Fate::ignored},
    {"low_memory", "true", Fate::ignored},
    {"_from_model_config", "true", Fate::ignored},
    {"transformers_version", "\"4.48.0\"", Fate::ignored},
    {"a_field_of_next_year", "{\"x\": [1]}", Fate::ignored},
    // vLLM and transformers take these fields from requests only.
    {"presence_penalty", "1.5", Fate::ignored},
    {"frequency_penalty", "1.5", Fate::ignored},
    // These fields would change tokens.
    {"max_time", "2.5", Fate::named},
    {"stop_strings", "[\"end\"]", Fate::named},
    {"num_beams", "4", Fate::named},
    {"num_beam_groups", "2", Fate::named},
    {"diversity_penalty", "0.5", Fate::named},
    {"num_return_sequences", "3", Fate::named},
    {"constraints", "[1]", Fate::named},
    {"force_words_ids", "[[1]]", Fate::named},
    {"penalty_alpha", "0.6", Fate::named},
    {"dola_layers", "\"high\"", Fate::named},
    {"guidance_scale", "1.5", Fate::named},
    {"typical_p", "0.9", Fate::named},
    {"top_h", "0.4", Fate::named},
    {"epsilon_cutoff", "0.0003", Fate::named},
    {"eta_cutoff", "0.0003", Fate::named},
    {"encoder_repetition_penalty", "1.2", Fate::named},
    {"encoder_no_repeat_ngram_size", "2", Fate::named},
    {"exponential_decay_length_penalty", "[10, 1.1]", Fate::named},
    {"forced_bos_token_id", "3", Fate::named},
    {"forced_eos_token_id", "3", Fate::named},
    {"token_healing", "true", Fate::named},
    {"watermarking_config", "{\"bias\": 2.5}", Fate::named},
};
// The default values of these fields, as transformers 4 writes them.
constexpr const char* kDefaults =
    R"({"max_time": null, "stop_strings": null, "num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0,
        "num_return_sequences": 1, "constraints": null, "force_words_ids": null, "penalty_alpha": null,
        "dola_layers": null, "guidance_scale": null, "typical_p": 1.0, "top_h": null, "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0, "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0,
        "exponential_decay_length_penalty": null, "forced_bos_token_id": null, "forced_eos_token_id": null,
        "token_healing": false, "watermarking_config": null, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
        "bad_words_ids": null, "sequence_bias": null, "suppress_tokens": null, "begin_suppress_tokens": null,
        "min_length": 0, "min_new_tokens": null, "min_p": null, "top_p": 1.0, "temperature": 1.0, "top_k": 0,
        "eos_token_id": null, "bos_token_id": null, "max_new_tokens": null})";

TEST_F(GenerationConfigFile, EveryFieldIsAppliedOrWithoutEffectOrNamedInOneWarning) {
  const GenerationConfig nothing = load("{}");
  EXPECT_EQ(nothing.sampling, SamplingParams{});
  for (const Row& row : kFields) {
    const GenerationConfig got = load(std::string("{\"") + row.name + "\": " + row.value + "}");
    const bool same = got.sampling == nothing.sampling && got.max_new_tokens == nothing.max_new_tokens &&
                      got.eos_token_ids == nothing.eos_token_ids && got.bos_token_id == nothing.bos_token_id;
    EXPECT_EQ(same, row.fate != Fate::applied) << row.name;
    ASSERT_EQ(got.warnings.size(), row.fate == Fate::named ? 1u : 0u) << row.name;
    if (row.fate != Fate::named) continue;
    EXPECT_EQ(
        got.warnings[0].find(directory_.string() + "/generation_config.json asks for " + row.name + " = "),
        0u)
        << got.warnings[0];
  }
}

TEST_F(GenerationConfigFile, DefaultsThatAreWrittenOutAskForNothing) {
  const GenerationConfig got = load(kDefaults);
  EXPECT_EQ(got.sampling, SamplingParams{});
  EXPECT_TRUE(got.warnings.empty());
}

TEST_F(GenerationConfigFile, WhatCannotBeDoneIsOneLine) {
  const GenerationConfig got = load(R"({"num_beams": 4, "do_sample": true, "typical_p": 0.9})");
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_EQ(got.warnings[0],
            (directory_ / "generation_config.json").string() +
                " asks for num_beams = 4, typical_p = 0.9, which r1 does not do; it samples without "
                "them");
  // Filters of the distribution do not change a greedy answer.
  EXPECT_TRUE(load(R"({"do_sample": false, "typical_p": 0.9, "eta_cutoff": 0.1})").warnings.empty());
}

TEST_F(GenerationConfigFile, DoSampleFalseIsGreedyWhateverElseItSays) {
  EXPECT_EQ(load(R"({"do_sample": false, "temperature": 0.6, "top_p": 0.95})").sampling.temperature, 0.0f);
  EXPECT_EQ(load(R"({"do_sample": true, "temperature": 0.6})").sampling.temperature, 0.6f);
  EXPECT_EQ(load(R"({"temperature": 0.6})").sampling.temperature, 0.6f);
  EXPECT_EQ(load(R"({"do_sample": null, "temperature": null})").sampling.temperature, 1.0f);
  EXPECT_EQ(load(R"({"top_k": -1})").sampling.top_k, 0);  // vLLM writes -1 for "off"
  EXPECT_EQ(load(R"({"top_k": 50.0})").sampling.top_k, 50);
}

TEST_F(GenerationConfigFile, NewTokensComeBeforeWholeLengths) {
  const GenerationConfig both =
      load(R"({"max_length": 40, "max_new_tokens": 7, "min_length": 9, "min_new_tokens": 2})");
  EXPECT_EQ(both.max_new_tokens, 7);
  EXPECT_EQ(both.sampling.max_length, 0);
  EXPECT_EQ(both.sampling.min_new_tokens, 2);
  EXPECT_EQ(both.sampling.min_length, 0);
}

TEST_F(GenerationConfigFile, WithoutTheFileFieldsOfConfigCount) {
  // An old version of transformers wrote these fields, including defaults.
  write_file_atomically(directory_ / "config.json",
                        R"({"model_type": "llama", "do_sample": true, "temperature": 0.6, "num_beams": 4,
                            "max_length": 20, "eos_token_id": 99999})");
  const GenerationConfig got = load_generation_config(directory_, kVocab);
  EXPECT_EQ(got.sampling, (SamplingParams{.temperature = 0.6f}));
  ASSERT_EQ(got.warnings.size(), 1u);  // read_model_config() warns about eos_token_id
  EXPECT_NE(got.warnings[0].find("config.json asks for num_beams = 4"), std::string::npos);
  EXPECT_EQ(load("{}").sampling, SamplingParams{});  // the file counts even if it is empty
}

TEST_F(GenerationConfigFile, StopTokensOutsideTheVocabularyAreNamedAndLeftOut) {
  const GenerationConfig got = load(R"({"eos_token_id": [7, 151645, -1]})");
  EXPECT_EQ(got.eos_token_ids, std::vector<int32_t>{7});
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_NE(got.warnings[0].find("eos_token_id has 151645, -1"), std::string::npos) << got.warnings[0];
  EXPECT_TRUE(load(R"({"bos_token_id": 151645})").warnings.empty());
}

TEST_F(GenerationConfigFile, ImpossibleValuesAreRefusedByName) {
  for (const auto& [text, needle] : std::vector<std::pair<std::string, std::string>>{
           {R"({"temperature": -1})", "temperature is -1; it must be between 0 and 1000"},
           {R"({"top_p": 1.5})", "top_p is 1.5; it must be between 0 and 1"},
           {R"({"top_k": -2})", "top_k is -2; it must be a whole number between -1 and"},
           {R"({"top_k": 2.5})", "top_k is 2.5"},
           {R"({"min_p": 2})", "min_p is 2"},
           {R"({"repetition_penalty": 0})", "repetition_penalty is 0"},
           {R"({"repetition_penalty": "1.05"})", "repetition_penalty is a string"},
           {R"({"eos_token_id": "7"})", "eos_token_id is a string"},
           {R"({"max_new_tokens": 0})", "max_new_tokens is 0; it must be at least 1"},
           {R"({"suppress_tokens": [100]})", "suppress_tokens[0] is 100; the model's token ids are 0 to 99"},
           {R"({"bad_words_ids": [[]]})", "bad_words_ids[0] is empty"},
           {R"({"do_sample": "yes"})", "do_sample"},
           {R"([1])", "is an array"}}) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find(needle), std::string::npos) << text << " -> " << error;
    EXPECT_NE(error.find("generation_config.json"), std::string::npos) << error;
  }
}

TEST_F(GenerationConfigFile, PublishedFilesAreAppliedWithoutAWord) {
  const char* set = std::getenv("R1_TEST_DATA");
  const fs::path root = fs::path(set != nullptr ? set : R1_SOURCE_DIR "/../shared/data") / "configs";
  if (!fs::exists(root)) GTEST_SKIP() << root << " is missing: published configurations are NOT read";
  int read = 0;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (!fs::exists(entry.path() / "generation_config.json")) continue;
    EXPECT_TRUE(load_generation_config(entry.path(), 152064).warnings.empty()) << entry.path();
    ++read;
  }
  EXPECT_GE(read, 9);
  const GenerationConfig r1 = load_generation_config(root / "DeepSeek-R1", 129280);
  EXPECT_EQ(r1.sampling, (SamplingParams{.temperature = 0.6f, .top_p = 0.95f}));
  EXPECT_EQ(r1.eos_token_ids, std::vector<int32_t>{1});
  const GenerationConfig qwen = load_generation_config(root / "qwen2-7b", 152064);
  EXPECT_EQ(qwen.sampling,
            (SamplingParams{.temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1.05f}));
  EXPECT_EQ(qwen.eos_token_ids, (std::vector<int32_t>{151645, 151643}));
  EXPECT_EQ(load_generation_config(root / "qwen3-0.6b", 151936).sampling.temperature,
            0.0f);  // do_sample false
  EXPECT_EQ(load_generation_config(root / "qwen3-0.6b", 151936).max_new_tokens, 2048);
}

TEST(SamplingFields, EveryNameIsRead) {
  const Json row = parse_json(
      R"({"do_sample": false, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "min_p": 0.5, "repetition_penalty": 2,
          "presence_penalty": 1, "frequency_penalty": 1, "no_repeat_ngram_size": 2, "min_new_tokens": 3, "min_tokens": 4,
          "min_length": 5, "max_length": 6, "suppress_tokens": [1], "begin_suppress_tokens": [1],
          "bad_words_ids": [[1]], "sequence_bias": [[[1], 2.0]]})",
      "row");
  EXPECT_EQ(sampling_fields().size(), row.size());
  for (const std::string& name : sampling_fields()) {
    SamplingParams params;
    read_sampling(Json::object().set(name, row.at(name)), kVocab, params);
    EXPECT_NE(params, SamplingParams{}) << name;
    SamplingParams untouched{.temperature = 0.25f, .top_k = 9};
    read_sampling(Json::object().set(name, nullptr), kVocab, untouched);
    EXPECT_EQ(untouched, (SamplingParams{.temperature = 0.25f, .top_k = 9}))
        << name << ": null changes nothing";
  }
}

TEST(SamplingFields, ARowOverridesTheFile) {
  SamplingParams params{.temperature = 0.0f, .min_new_tokens = 5};
  read_sampling(parse_json(R"({"do_sample": true, "min_length": 9})", "row"), kVocab, params);
  EXPECT_EQ(params.temperature, 1.0f);
  EXPECT_EQ(params.min_new_tokens, 0);  // the last setting counts
  EXPECT_EQ(params.min_length, 9);
  read_sampling(parse_json(R"({"temperature": 0.3, "min_tokens": 2})", "row"), kVocab, params);
  EXPECT_EQ(params.temperature, 0.3f);
  EXPECT_EQ(params.min_length, 0);
}

}  // namespace
}  // namespace r1::generation_config_test
