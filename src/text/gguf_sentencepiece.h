// text/gguf_sentencepiece.h: the vocabulary of a GGUF file whose tokenizer.ggml.model is "llama":
// SentencePiece's BPE, whose merges follow from scores.
#pragma once

#include "formats/gguf.h"
#include "formats/json.h"
#include "text/gguf_tokenizer_parts.h"

namespace r1 {

// The normalizer and the decoder, as tokenizer.json writes them.
struct GgufPieceRules {
  Json normalizer, decoder;
};
GgufPieceRules gguf_piece_rules(bool space_prefix);

// Fills the merges, unk and byte pieces of `parts.spec`, and the rules. Throws Error "FILE: KEY ...".
void read_gguf_sentencepiece(const GgufMetadata& metadata, const GgufVocabulary& vocabulary,
                             GgufTokenizerParts& parts);

}  // namespace r1
