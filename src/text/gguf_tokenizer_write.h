// text/gguf_tokenizer_write.h: the tokenizer of a Hugging Face directory as the keys of a GGUF file, the
// reverse of text/gguf_tokenizer_files.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf_writer.h"

namespace r1 {

struct GgufTokenizerInput {
  std::filesystem::path directory;  // with tokenizer.json, tokenizer_config.json, chat templates
  int64_t vocab_size = 0;           // of the model: the number of tokens in the file
  std::span<const int32_t> stops;   // tokens that end an answer, the most important one first
  int32_t bos = -1;                 // if the tokenizer's files name none; -1: none
};

// Sets tokenizer.ggml.* and tokenizer.chat_template*. Returns a line for each thing that the file cannot say.
// Throws Error for byte-level BPE whose pre-tokenizer is none that GGUF has a name for, and for SentencePiece's
// BPE whose rules or merges do not follow from scores (text/gguf_sentencepiece_write.h): readers would cut
// texts in another way.
std::vector<std::string> write_gguf_tokenizer(const GgufTokenizerInput& input, GgufKeys& keys);

}  // namespace r1
