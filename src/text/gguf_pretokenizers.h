// text/gguf_pretokenizers.h: what the names of GGUF's tokenizer.ggml.pre stand for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

// A tokenizer's rules that a GGUF file does not spell out, in tokenizer.json's form.
struct GgufPreTokenizer {
  Json pre_tokenizer = {};
  Json normalizer = {};        // null: none
  bool ignore_merges = false;  // a word that is a token is that token
  bool add_bos = false;        // if the file does not say
};

// Returns the rules of `name`, those of llama.cpp's table of the same name, written as the models' own
// tokenizer.json write them. Throws Error with the known names.
GgufPreTokenizer gguf_pre_tokenizer(std::string_view name);

std::vector<std::string_view> gguf_pre_tokenizer_names();

// Returns the name whose rules are those of a tokenizer.json, or "" if there is none. Spellings that cut no
// text otherwise are the same: a Sequence of one, trim_offsets, a letter instead of its escape.
std::string_view gguf_pre_tokenizer_name(const Json& tokenizer_json);

}  // namespace r1
