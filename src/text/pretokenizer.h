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

// Where a piece of text stands: at the beginning, behind an added token, or behind an earlier text that it
// goes on with. A space is not put before the last kind.
enum class TextPlace { beginning, inside, continuation };

class PreTokenizer {
 public:
  PreTokenizer() = default;  // the whole text is one word
  // tokenizer.json's "pre_tokenizer": null, or one or a Sequence of Split, Digits, and one ByteLevel or
  // Metaspace. A ByteLevel is the last. Throws Error naming the field.
  explicit PreTokenizer(const Json& description);

  // True if words become bytes, in the letters of the byte alphabet.
  bool is_byte_level() const { return is_byte_level_; }

  // Returns the words of `text` (valid UTF-8, without added tokens), in order. If a space is put before it,
  // or Metaspace replaces its spaces, `text` itself changes. The ranges are of the changed text and lie side
  // by side, except where a Split removes something.
  void split(std::string& text, std::vector<TextRange>& words, TextPlace place = TextPlace::beginning) const;

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
  // The prefix of words. ByteLevel's is a space; Metaspace's is what it replaces spaces by.
  enum class Prefix { none, first_word, each_word };
  struct Spacing {
    std::string mark = " ";
    Prefix prefix = Prefix::none;
    bool used() const { return prefix != Prefix::none || mark != " "; }
  };

  void add(const Json& description, bool last, int depth);
  void add_split(const Json& description);
  void add_digits(const Json& description);
  void add_byte_level(const Json& description);
  void add_metaspace(const Json& description);
  std::vector<Split>& splits() { return has_spacing_ ? after_ : before_; }
  void space(std::string& text, std::vector<TextRange>& words, TextPlace place) const;
  static void find_pieces(const Split& split, std::string_view text, std::string_view classified,
                          TextRange word, std::vector<TextRange>& matches, std::vector<Piece>& pieces);
  static void join_pieces(Behavior behavior, const std::vector<Piece>& pieces, std::vector<TextRange>& words);

  std::vector<Split> before_;  // the order of the Sequence
  Spacing spacing_;
  std::vector<Split> after_;  // those behind the spacing, ByteLevel's and Metaspace's own included
  bool has_spacing_ = false;
  bool is_byte_level_ = false;
};

}  // namespace r1
