// text/gguf_tokenizer.h: the tokenizer, the special tokens and the chat templates of a GGUF file.
//
// tokenizer.ggml.model "gpt2" is byte-level BPE, as in tokenizer.json; tokenizer.ggml.pre names its patterns
// (text/gguf_pretokenizers.h). "llama" is SentencePiece's BPE with scores; a text, and what follows an added
// token, begins with a space unless the file says otherwise. The ids are those of the tokenizer.json or
// SentencePiece model that the file was made of, except where GGUF has no place for a rule: added tokens
// never take the white space beside them, and are found in the raw text. Other kinds of tokenizers are
// refused by name.
//
// Each function throws Error "FILE: KEY ...".
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "formats/gguf.h"
#include "text/chat_templates.h"
#include "text/tokenizer.h"

namespace r1 {

Tokenizer read_gguf_tokenizer(const GgufMetadata& metadata);

// The tokenizer of a GGUF file, a tokenizer.json, or a Hugging Face directory.
Tokenizer load_tokenizer(const std::filesystem::path& model);

struct GgufSpecialTokens {
  int32_t bos = -1, eos = -1, pad = -1, unk = -1;  // -1: none
  // Any of them ends an answer: the end of the text, of a turn and of a message, and control tokens that
  // are known to end a turn, such as <|im_end|>.
  std::vector<int32_t> stops;
};
GgufSpecialTokens read_gguf_special_tokens(const GgufMetadata& metadata);

// empty() if the file has no template.
ChatTemplates read_gguf_chat_templates(const GgufMetadata& metadata);

}  // namespace r1
