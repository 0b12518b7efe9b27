// text/added_tokens.h: tokens that are found in a text before anything else looks at it (<think>, <|im_end|>,
// ...).
//
// The rules are those of Hugging Face's tokenizers: leftmost, then longest, first among the tokens that are
// matched in the raw text, then, between those, among the ones that are matched in the normalised text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.h"
#include "text/regex.h"

namespace r1 {

struct AddedToken {
  std::string content = {};
  int32_t id = -1;
  bool special = true;       // dropped by decode(skip_special)
  bool normalized = false;   // found in the normalised text
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool single_word = false;  // only where no word character touches it
};

inline constexpr size_t kMaxAddedToken = 1024;  // bytes: bounds the work a text can cause

// A set of token strings, found leftmost-longest.
class TokenTrie {
 public:
  void add(std::string_view content, size_t index);
  bool empty() const { return next_.empty(); }
  // The longest token that begins at text[at]: its index and its size; size 0: none.
  struct Hit {
    size_t index = 0;
    size_t size = 0;
  };
  Hit longest_at(std::string_view text, size_t at) const;

 private:
  std::unordered_map<uint64_t, uint32_t> next_;  // node << 8 | byte -> node; the root is 0
  std::vector<int64_t> token_{-1};               // a node's token index
  bool starts_[256] = {};
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  struct Span {
    TextRange range;
    int32_t id = -1;  // -1: ordinary text
  };
  // Cuts `text` by the tokens matched in the raw text, respectively in the normalised one. skip_special:
  // special tokens are ordinary text.
  std::vector<Span> cut_raw(std::string_view text, bool skip_special) const;
  std::vector<Span> cut_normalized(std::string_view text, bool skip_special) const;
  bool any_normalized() const { return !normalized_.empty(); }

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(std::string_view content) const;
  const AddedToken* find(int32_t id) const;

 private:
  std::vector<Span> cut(const TokenTrie& trie, std::string_view text, bool skip_special) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> by_content_;
  std::unordered_map<int32_t, size_t> by_id_;
  TokenTrie raw_;
  TokenTrie normalized_;
};

}  // namespace r1
