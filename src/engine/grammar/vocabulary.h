// engine/grammar/vocabulary.h: the bytes of a tokenizer's tokens, and a tree of those that grammars may use.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace r1 {

// Immutable; shared by all grammars of a model.
class TokenVocabulary {
 public:
  // A node of the tree: a byte after those of its ancestors. Nodes are in depth-first order.
  struct Node {
    uint32_t end = 0;                      // the first node that does not lie below this one
    uint32_t first_token = 0, tokens = 0;  // ids [first_token, first_token + tokens) of token_ids()
    uint16_t depth = 0;                    // 1 for the first byte of a token
    uint8_t byte = 0;
  };

  // `vocab_size`: the model's logits, which may be more than the tokenizer's tokens. Special tokens and tokens
  // without bytes are not in the tree.
  static std::shared_ptr<const TokenVocabulary> of(const Tokenizer& tokenizer, int64_t vocab_size);
  // pieces[id]: the bytes; special[id]: not for grammars.
  TokenVocabulary(std::vector<std::string> pieces, const std::vector<bool>& special);

  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }
  size_t words() const { return (pieces_.size() + 63) / 64; }  // of a mask
  std::string_view bytes(int32_t token) const { return pieces_[static_cast<size_t>(token)]; }
  bool is_special(int32_t token) const { return special_[static_cast<size_t>(token)]; }
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const int32_t> token_ids() const { return token_ids_; }
  int64_t deepest() const { return deepest_; }  // the most bytes of a token in the tree
  // Tokens that may complete </think>, given what comes before them, and go on behind it.
  std::span<const int32_t> tag_ends() const { return tag_ends_; }

 private:
  std::vector<std::string> pieces_;
  std::vector<bool> special_;
  std::vector<Node> nodes_;
  std::vector<int32_t> token_ids_, tag_ends_;
  int64_t deepest_ = 0;
};

}  // namespace r1
