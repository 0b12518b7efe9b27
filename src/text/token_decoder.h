// text/token_decoder.h: how a vocabulary of characters (SentencePiece's) turns its tokens into text.
//
// A token's text passes through the replacements ("▁" becomes a space). A token that then reads "<0x41>" is a
// byte, and neighbouring bytes are UTF-8. At last the text loses the space that encoding put before it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/json.h"

namespace r1 {

struct DecoderRules {
  std::vector<std::pair<std::string, std::string>> replacements;  // within each token, in order
  std::string dropped_in_first;  // the first token loses each of these before anything else
  bool byte_fallback = false;    // "<0x41>" is a byte
  std::string strip;             // the text loses up to strip_count of this character at its start
  int64_t strip_count = 0;

  // tokenizer.json's "decoder" of a vocabulary of characters: Metaspace, or a Sequence of Replace,
  // ByteFallback, Fuse and Strip, in this order. Throws Error naming the field.
  static DecoderRules parse(const Json& description);
};

// Joins the texts of tokens, in order. What add() returns at once may differ from the text of all tokens in
// one case only: if a run of bytes is not UTF-8, the run as a whole is one U+FFFD for each byte, and its
// valid characters are not shown; a stream has shown them.
class TokenJoiner {
 public:
  explicit TokenJoiner(const DecoderRules& rules) : rules_(&rules) {}

  // Returns the text that is known after one more token. The bytes of a character that is not whole yet are
  // held back.
  std::string add(std::string_view token);
  // Returns the rest: U+FFFD for each byte that is held back.
  std::string finish();

  // The text of a whole list of tokens.
  static std::string join(const DecoderRules& rules, const std::vector<std::string_view>& tokens);

 private:
  std::string stripped(std::string text);

  const DecoderRules* rules_;
  std::string held_;  // bytes
  bool first_ = true;
  int64_t stripped_ = 0;
};

// The bytes of one token, wherever it stands.
std::string piece_bytes(const DecoderRules& rules, std::string_view token);

}  // namespace r1
