// text/tokenizer_config.h: what a model directory says about its special tokens. Its chat templates are in
// text/chat_templates.h.
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
  bool says_bos = false;  // whether a file has the field; it may be null, which means none
  bool says_eos = false;
  std::vector<std::string> all_eos;  // of every file: files may differ
  std::optional<bool> add_bos;       // older files' say on what tokenizer.json's post-processor says now
  std::optional<int64_t> model_max_length;  // tokens; the huge number that means "unknown" is nothing
};

// Reads tokenizer_config.json; special_tokens_map.json fills in tokens that it lacks. A missing file is no
// error; a malformed one throws Error.
TokenizerConfig load_tokenizer_config(const std::filesystem::path& directory);

}  // namespace r1
