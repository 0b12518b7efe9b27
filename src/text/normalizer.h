// text/normalizer.h: a tokenizer's first change to a text: none, or Unicode's NFC with the tables of Unicode
// 9, which the tokenizers library uses.
#pragma once

#include <string>
#include <string_view>

#include "formats/json.h"

namespace r1 {

class Normalizer {
 public:
  Normalizer() = default;  // nothing
  // tokenizer.json's "normalizer": null, NFC, or a Sequence of these. Throws Error naming the field.
  explicit Normalizer(const Json& description);

  std::string apply(std::string_view text) const;  // text is valid UTF-8

 private:
  bool nfc_ = false;
};

}  // namespace r1
