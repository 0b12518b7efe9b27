// text/regex.h: regular expressions as tokenizer.json writes them, run by PCRE2's JIT.
//
// Hugging Face's tokenizers run Oniguruma in Ruby syntax. A pattern is translated to PCRE2; a construct that
// PCRE2 reads differently and that is not translated is refused, never guessed. The number of steps that a
// match may take grows with the text's length only, so a hostile pattern ends in an Error.
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
  // Throws Error whose message is only the reason; the caller adds the file and the field.
  explicit Regex(std::string_view pattern);

  // Appends the successive, non-overlapping matches in `text` (valid UTF-8), which is matched as if nothing
  // stood around it. A match may be empty, but not at the place where the previous match ended. Throws Error
  // if the step limit is reached.
  void find_all(std::string_view text, std::vector<TextRange>& matches) const;

  // The PCRE2 form, for tests.
  static std::string translate(std::string_view pattern);

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace r1
