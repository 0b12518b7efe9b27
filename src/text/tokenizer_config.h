// text/tokenizer_config.h: a model directory's settings of its special tokens. Its chat templates are in
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
  bool says_bos = false;  // a file has the field; it may be null, which means none
  bool says_eos = false;
  std::vector<std::string> all_eos;         // of every file: files may differ
  std::optional<bool> add_bos;              // in older files, in place of tokenizer.json's post-processor
  std::optional<int64_t> model_max_length;  // tokens; the huge number that means "unknown" is nothing
};

// Reads tokenizer_config.json; special_tokens_map.json supplies the tokens that it lacks. A missing file is
// no error; a malformed one throws Error.
TokenizerConfig load_tokenizer_config(const std::filesystem::path& directory);

}  // namespace r1
