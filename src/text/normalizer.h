// text/normalizer.h: a tokenizer's first change to a text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

class Normalizer {
 public:
  Normalizer() = default;  // nothing
  // tokenizer.json's "normalizer": null, or a Sequence of
  //   NFC       Unicode's NFC with the tables of Unicode 9, which the tokenizers library uses
  //   Prepend   a text before every text that is not empty
  //   Replace   one string by another
  // Throws Error naming the field.
  explicit Normalizer(const Json& description);

  // `text` is valid UTF-8. If `continues` is set, it goes on with an earlier text, and Prepend does nothing.
  std::string apply(std::string_view text, bool continues = false) const;

 private:
  enum class Kind { nfc, prepend, replace };
  struct Step {
    Kind kind;
    std::string pattern = {};
    std::string content = {};
  };
  void add(const Json& description, int depth);

  std::vector<Step> steps_;
};

// Returns `text` with every occurrence of `pattern`, from the left, replaced. `pattern` is not empty.
std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace r1
