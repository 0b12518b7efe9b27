// text/gguf_tokenizer_parts.h: what the reader of GGUF tokenizers shares with the writer of tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "text/chat_templates.h"
#include "text/gguf_pretokenizers.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_spec.h"

namespace r1 {

struct GgufVocabulary {
  // The values of tokenizer.ggml.token_type.
  enum Kind : int64_t { kUndefined = 0, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };
  std::vector<std::string_view> tokens;
  std::vector<int64_t> kinds;

  // False for what only fills up the vocabulary to the model's size: converters write "[PAD100]" for id 100.
  bool is_token(size_t id) const;
  bool is_added(size_t id) const;  // found in a text before it is normalised
};

struct GgufTokenizerParts {
  TokenizerSpec spec;  // without the normalizer and the pre-tokenizer, which `rules` describe
  GgufPreTokenizer rules;
  Json decoder;  // in tokenizer.json's form
};
GgufTokenizerParts read_gguf_tokenizer_parts(const GgufMetadata& metadata);

std::vector<ChatTemplates::Named> read_gguf_named_templates(const GgufMetadata& metadata);
// {"bos_token": "<s>", ...}, without those that the file does not name.
Json read_gguf_special_texts(const GgufMetadata& metadata);

}  // namespace r1
