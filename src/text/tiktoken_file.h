// text/tiktoken_file.h: the tokenizer of Moonlight and Kimi, whose directories have a tiktoken.model in place
// of a tokenizer.json.
//
// tiktoken.model has one token per line: its bytes in base 64, a space, its rank, which is its id. Behind them
// are 258 special tokens, which tokenizer_config.json's added_tokens_decoder names; the others are called
// <|reserved_token_ID|>. The words are those of the published tokenization_moonshot.py and
// tokenization_kimi.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace r1 {

// True if the directory has a tiktoken.model and no tokenizer.json.
bool has_tiktoken_file(const std::filesystem::path& directory);

struct TiktokenToken {
  std::string bytes;
  int32_t rank = 0;
};

// Reads the text of a tiktoken.model. Throws Error "SOURCE:LINE: ...".
std::vector<TiktokenToken> parse_tiktoken(std::string_view text, const std::string& source);

// Throws Error naming the file, and the line or field.
Tokenizer read_tiktoken(const std::filesystem::path& directory);

// The texts of a tokenizer.json and a tokenizer_config.json for the same ids without Python code of the
// model's own, by name.
std::map<std::string, std::string> tiktoken_as_tokenizer_files(const std::filesystem::path& directory);

}  // namespace r1
