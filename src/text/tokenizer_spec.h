// text/tokenizer_spec.h: the contents of a tokenizer, whatever file they came from.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/token_decoder.h"

namespace r1 {

struct TokenizerSpec {
  // The symbols that are merged: bytes, which the vocabulary writes in the letters of the byte alphabet, or
  // characters as they are.
  enum class Symbols { bytes, characters };
  Symbols symbols = Symbols::bytes;
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<uint32_t> ranks;  // of the merges; empty: their places in the list
  bool ignore_merges = false;
  std::string unk_token = {};  // what a symbol without a token becomes; "": nothing, the symbol is dropped
  bool fuse_unk = false;       // neighbouring unk tokens are one
  // A letter or character without a token becomes the tokens "<0xC4>" of its UTF-8 bytes, if all exist.
  bool byte_fallback = false;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added;  // tokenizer.json's, added in one batch
  std::vector<AddedToken>
      configured;               // tokens of the other files of a model directory, added in a second batch
  std::vector<int32_t> prefix;  // tokens that post-processing puts before a text
  std::vector<int32_t> suffix;  // and after it
  DecoderRules decoder;         // of a vocabulary of characters
};

// Bounds memory against a hostile file; the largest published vocabularies have about 2^18.
inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;

}  // namespace r1
