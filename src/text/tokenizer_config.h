// text/tokenizer_config.h: what a model directory says about its special tokens and how to sample. Its
// chat templates are in text/chat_templates.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace r1 {

struct TokenizerConfig {
  std::string bos;  // contents of tokens; "": none
  std::string eos;
  std::string pad;
  std::optional<bool> add_bos;  // older files' say on what tokenizer.json's post-processor says now
  std::optional<int64_t> model_max_length;  // tokens; the huge number that means "unknown" is nothing
};

// Reads tokenizer_config.json; special_tokens_map.json fills in tokens that it lacks. A missing file is no error;
// a malformed one throws Error.
TokenizerConfig load_tokenizer_config(const std::filesystem::path& directory);

// generation_config.json. Nothing: the file does not say. Sampling is off unless do_sample is true.
struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;  // 0: off
  std::optional<double> repetition_penalty;
  std::optional<int64_t> max_new_tokens;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // any of them ends a text
};

// A missing file is an empty one; values that cannot be (temperature below 0, top_p outside 0..1) throw
// Error.
GenerationConfig load_generation_config(const std::filesystem::path& directory);

}  // namespace r1
