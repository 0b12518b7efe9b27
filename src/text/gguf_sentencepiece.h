// text/gguf_sentencepiece.h: the vocabulary of a GGUF file whose tokenizer.ggml.model is "llama":
// SentencePiece's BPE, whose merges follow from scores.
#pragma once

#include "formats/gguf.h"
#include "text/gguf_tokenizer_parts.h"

namespace r1 {

// Fills the merges, unk and byte pieces of `parts.spec`, and the rules. Throws Error "FILE: KEY ...".
void read_gguf_sentencepiece(const GgufMetadata& metadata, const GgufVocabulary& vocabulary,
                             GgufTokenizerParts& parts);

}  // namespace r1
