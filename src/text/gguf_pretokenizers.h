// text/gguf_pretokenizers.h: what the names of GGUF's tokenizer.ggml.pre stand for.
#pragma once

#include <string>
#include <string_view>

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

}  // namespace r1
