// text/gguf_tokenizer_parts.h: what gguf_tokenizer.cc reads, for gguf_tokenizer_files.cc too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "text/chat_templates.h"
#include "text/gguf_pretokenizers.h"
#include "text/tokenizer_spec.h"

namespace r1 {

struct GgufTokenizerParts {
  TokenizerSpec spec;  // without the normalizer and the pre-tokenizer, which `rules` describe
  GgufPreTokenizer rules;
};
GgufTokenizerParts read_gguf_tokenizer_parts(const GgufMetadata& metadata);

std::vector<ChatTemplates::Named> read_gguf_named_templates(const GgufMetadata& metadata);
// {"bos_token": "<s>", ...}, without those that the file does not name.
Json read_gguf_special_texts(const GgufMetadata& metadata);

}  // namespace r1
