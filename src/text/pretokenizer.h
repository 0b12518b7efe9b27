// text/pretokenizer.h: cuts a text into words, within which byte-pair merges stay.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/json.h"
#include "text/regex.h"

namespace r1 {

class PreTokenizer {
 public:
  PreTokenizer() = default;
  // tokenizer.json's "pre_tokenizer": ByteLevel, Split, Digits, or a Sequence of these, with exactly one
  // ByteLevel, last. Throws Error naming the field.
  explicit PreTokenizer(const Json& description);

  // Returns the words of `text` (valid UTF-8, without added tokens), in order. If ByteLevel adds a space
  // before it, `text` itself changes. The ranges are of the changed text and lie side by side, except where a
  // Split removes something.
  void split(std::string& text, std::vector<TextRange>& words) const;

 private:
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  struct Split {
    std::variant<std::string, Regex> pattern;  // a string stands for itself
    Behavior behavior = Behavior::isolated;
    bool invert = false;
  };
  struct Piece {
    TextRange range;
    bool is_match = false;
  };

  void add(const Json& description, bool last, int depth);
  void add_split(const Json& description);
  void add_digits(const Json& description);
  void add_byte_level(const Json& description);
  void add_spaces(std::string& text, std::vector<TextRange>& words) const;
  static void find_pieces(const Split& split, std::string_view text, std::string_view classified,
                          TextRange word, std::vector<TextRange>& matches, std::vector<Piece>& pieces);
  static void join_pieces(Behavior behavior, const std::vector<Piece>& pieces, std::vector<TextRange>& words);

  std::vector<Split> before_;  // the order of the Sequence
  bool add_prefix_space_ = false;
  std::vector<Split> after_;  // ByteLevel's own pattern, if it uses it: applied after the space is added
};

}  // namespace r1
