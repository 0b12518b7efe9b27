// server/literal_text.h: special tokens that a user typed are text.
//
// A chat template writes special tokens around the messages, and the tokenizer finds them in the rendered
// text. It would find those in a message, too, so that a user could end his own turn and speak as the
// assistant. Therefore a mark (a code point that is no character) is put inside every special token's text in
// a message before it is rendered, and Tokenizer::encode_marked drops the marks again. A conversation without
// such text stays as it is.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "formats/json.h"
#include "text/tokenizer.h"

namespace r1 {

class LiteralText {
 public:
  explicit LiteralText(const Tokenizer& tokenizer);

  struct Marked {
    Json messages, tools;
    std::string mark;  // "": nothing was marked
  };
  // Marks special tokens, and those of tool calls (kToolMarkers), in all strings of the messages and the tools.
  // The tags of a thought are marked, too, except in the assistant's messages, where templates look for them.
  // Throws Error if there are all marks already.
  Marked mark(const Json& messages, const Json& tools = {}) const;
  // The ids of a text that was rendered from marked messages.
  std::vector<int32_t> encode(const Tokenizer& tokenizer, const std::string& text,
                              const std::string& mark) const;

 private:
  Json marked(const Json& value, bool keep_tags, const std::string& mark, bool* found) const;
  std::string marked_text(const std::string& text, bool keep_tags, const std::string& mark,
                          bool* found) const;

  std::unordered_map<char, std::vector<std::string>> tokens_;  // by first byte
};

}  // namespace r1
