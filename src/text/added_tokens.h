// text/added_tokens.h: tokens that are found in a text before anything else looks at it (<think>,
// <|im_end|>).
//
// The rules are those of Hugging Face's tokenizers 0.23. The leftmost token wins, then the longest. Tokens
// that are matched in the raw text are found first; then, in the text between them, those that are matched in
// the normalised text. Word characters are those of Unicode 16; white space is Unicode's White_Space.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/normalizer.h"
#include "text/regex.h"

namespace r1 {

struct AddedToken {
  std::string content = {};
  int32_t id = -1;           // what a file says; AddedTokens numbers tokens by its own rule
  bool special = true;       // dropped by decode(skip_special)
  bool normalized = false;   // found in the normalised text
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool single_word = false;  // only if no word character touches it
  // The treatment of an added token that already has the same content: its flags are replaced, or it keeps
  // them, or it keeps them but becomes special.
  enum class IfKnown { replace, keep, make_special };
  IfKnown if_known = IfKnown::replace;
};

inline constexpr size_t kMaxAddedToken = 1024;  // bytes: bounds the work a text can cause

// A set of token strings, found leftmost-longest.
class TokenTrie {
 public:
  void add(std::string_view content, int32_t id);  // of equal contents the first one counts
  bool empty() const { return next_.empty(); }
  // The longest token that begins at text[at]: its id and its size in bytes. Size 0 means none.
  struct Hit {
    int32_t id = -1;
    size_t size = 0;
  };
  Hit longest_at(std::string_view text, size_t at) const;
  bool may_begin(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }

 private:
  std::unordered_map<uint64_t, uint32_t> next_;  // node << 8 | byte -> node; the root is 0
  std::vector<int32_t> token_{-1};               // a node's token
  bool starts_[256] = {};
};

class AddedTokens {
 public:
  // The model's own vocabulary, as far as numbering needs it: a token's id (-1: none) and the number of
  // tokens.
  struct Vocabulary {
    std::function<int32_t(std::string_view)> id_of = [](std::string_view) { return -1; };
    int32_t count = 0;
  };

  // letters: the vocabulary is written in the letters of the byte alphabet.
  explicit AddedTokens(bool letters = true) : letters_(letters) {}

  // Adds one batch (a file's list) and returns the id of each token, or -1 for an empty content, which is
  // ignored. A content that is known, as an added token or in the vocabulary, keeps its id, and its flags are
  // replaced. A new one gets the next id, which is max(vocabulary.count, highest added id + 1) at the start
  // of the batch. Token::id is not used.
  std::vector<int32_t> add(const std::vector<AddedToken>& batch, const Vocabulary& vocabulary,
                           const Normalizer& normalizer);

  struct Span {
    TextRange range;
    int32_t id = -1;  // -1: ordinary text
  };
  // Cuts `text` at the tokens that are matched in the raw text, or at those that are matched in the
  // normalised text. If skip_special is set, special tokens are ordinary text. Spans of ordinary text lie
  // side by side, but a token's span may overlap the one before if that one took white space that the token
  // begins with.
  std::vector<Span> cut_raw(std::string_view text, bool skip_special) const;
  std::vector<Span> cut_normalized(std::string_view text, bool skip_special) const;
  bool any_normalized() const { return !normalized_.empty(); }

  int32_t size() const { return tokens_.empty() ? 0 : tokens_.rbegin()->first + 1; }  // the highest id + 1
  const std::string* content_of(int32_t id) const;  // nullptr: no such token
  int32_t id_of(std::string_view content) const;    // -1: no such token
  // Returns the text that decoding starts from: the token's content, normalised, as letters of the byte
  // alphabet if the vocabulary is written in these and it has no other characters. nullptr: no such token.
  const std::string* bytes_of(int32_t id) const;
  bool is_skipped(int32_t id) const;  // by decode(skip_special)

 private:
  struct Entry {
    AddedToken token;
    std::string bytes = {};
    bool skipped = false;
  };
  std::vector<Span> cut(const TokenTrie& trie, std::string_view text, bool skip_special) const;
  void rebuild();

  bool letters_;
  std::map<int32_t, Entry> tokens_;
  std::unordered_map<std::string, int32_t> ids_;     // by content
  std::unordered_set<std::string> special_;          // contents that were special once
  std::unordered_map<int32_t, std::string> normal_;  // by id: the normalised content, if it differs
  std::vector<bool> has_;                            // by id
  TokenTrie raw_;
  TokenTrie normalized_;
};

}  // namespace r1
