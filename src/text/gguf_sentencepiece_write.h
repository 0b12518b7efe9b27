// text/gguf_sentencepiece_write.h: SentencePiece's BPE of a tokenizer.json as scores, which is how GGUF holds
// it: the reverse of text/gguf_sentencepiece.h.
#pragma once

#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

// True if tokenizer.json merges characters (Llama 2, Mistral), not bytes.
bool is_sentencepiece(const Json& tokenizer_json);

struct GgufPieces {
  bool space_prefix = false;  // a space is put before a text
  std::vector<float> scores;  // per token; a token that nothing merges to has the lowest
};

// `tokens` are the file's tokens by id, "" for an id without one, and can_merge tells which of them a text can
// become by merging. `source` names tokenizer.json in messages. Throws Error if its normalizer, decoder or
// merges are none that readers of GGUF derive from scores: with those, texts would be cut in another way.
GgufPieces gguf_pieces(const Json& tokenizer_json, const std::vector<std::string>& tokens,
                       const std::vector<bool>& can_merge, const std::string& source);

}  // namespace r1
