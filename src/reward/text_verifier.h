// reward/text_verifier.h: the answer is a text: a name, a word, a title. Total: any bytes give a verdict.
//
// Gold: "Paris", a number (taken as it is written), ["Paris", "Ville de Paris"] (any of them is right), or
//   {"text": one of the above, "case": C, "space": S, "punctuation": P}
//
//   case         ignore (default): Unicode case folding; exact
//   space        collapse (default): a run of white space is one blank; ignore: none counts; exact
//   punctuation  ends (default): . , ; : ! ? quotes, * _ and ` around the answer do not count; ignore: all of
//                Unicode's punctuation, minus signs included, counts for nothing; exact
//
// Compatible forms are one (Unicode NFKC: full-width letters, ligatures) under every policy. White space around the
// answer never counts. Invalid UTF-8 is read as U+FFFD.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "reward/verdict.h"

namespace r1 {

class Json;

struct TextPolicy {
  enum class Case : uint8_t { ignore, exact };
  enum class Space : uint8_t { collapse, ignore, exact };
  enum class Punctuation : uint8_t { ends, ignore, exact };
  Case letters = Case::ignore;
  Space space = Space::collapse;
  Punctuation punctuation = Punctuation::ends;
};

// The text that is compared: two texts are equal under a policy if these are.
std::string compared_text(std::string_view text, const TextPolicy& policy);

class TextVerifier {
 public:
  // Throws Error for a gold of another shape, an unknown field or policy, and a text of which nothing is left.
  explicit TextVerifier(const Json& gold);
  // `why` is "ok", one of free_answer.h's reasons, or wrong_text.
  Verdict verify(std::string_view response) const;

 private:
  TextPolicy policy_;
  std::vector<std::string> golds_;
};

}  // namespace r1
