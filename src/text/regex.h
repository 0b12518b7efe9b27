// text/regex.h: regular expressions as tokenizer.json writes them, run by PCRE2's JIT.
//
// Hugging Face's tokenizers run Oniguruma in Ruby syntax. A pattern is translated to what PCRE2 means by it;
// what means something else there and is not translated is refused, never guessed. A match may take a number
// of steps that grows with the text's length only, so that a hostile pattern ends in an Error.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

class Regex {
 public:
  // Throws Error whose message is the reason only: the caller says in which file and field.
  explicit Regex(std::string_view pattern);

  // Appends the successive, non-overlapping matches in `text` (valid UTF-8), which is matched as if nothing
  // stood around it. A match may be empty, but not where the one before it ended. Throws Error if the step
  // limit is reached.
  void find_all(std::string_view text, std::vector<TextRange>& matches) const;

  // The PCRE2 form, for tests.
  static std::string translate(std::string_view pattern);

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace r1
