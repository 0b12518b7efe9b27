// text/gguf_tokenizer_files.h: a GGUF file's tokenizer as the files of a Hugging Face directory.
#pragma once

#include <map>
#include <string>

#include "formats/gguf.h"

namespace r1 {

// The texts of tokenizer.json and tokenizer_config.json (special tokens, chat templates), by name. The
// tokenizers library and Tokenizer::load give the same ids with them as read_gguf_tokenizer. Throws Error
// "FILE: KEY ..."; in particular, tokenizer.json cannot hold scores that leave the order of merges open.
std::map<std::string, std::string> gguf_tokenizer_files(const GgufMetadata& metadata);

}  // namespace r1
