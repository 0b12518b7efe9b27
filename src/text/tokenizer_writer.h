// text/tokenizer_writer.h: a tokenizer as a tokenizer.json, for models that come without one.
#pragma once

#include <string>

#include "formats/json.h"
#include "text/tokenizer_spec.h"

namespace r1 {

// The rules of `spec` as tokenizer.json spells them, which stand for spec.normalizer, spec.pre_tokenizer and
// spec.decoder.
struct TokenizerRules {
  Json normalizer = {};
  Json pre_tokenizer = {};
  Json decoder = {};
};

// The text of a tokenizer.json with which the tokenizers library and Tokenizer::load give the ids of `spec`,
// if no two merges of different results have the same rank.
std::string tokenizer_json_text(const TokenizerSpec& spec, const TokenizerRules& rules);

// The decoder of byte-level vocabularies.
Json byte_level_decoder();

}  // namespace r1
