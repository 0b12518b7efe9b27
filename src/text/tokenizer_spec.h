// text/tokenizer_spec.h: what a tokenizer is made of, whatever file it came from.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"

namespace r1 {

struct TokenizerSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;       // in the byte alphabet's letters
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  bool ignore_merges = false;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added;  // an id that vocab has too must have the same string there
  std::vector<int32_t> prefix;    // what post-processing puts before a text
  std::vector<int32_t> suffix;    // and after it
};

// Bounds memory against a hostile file; the largest published vocabularies have about 2^18.
inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;

}  // namespace r1
