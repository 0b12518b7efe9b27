// reward/text_verifier.h: decides if the answer is a given text: a name, a word, a title. Any bytes give a
// verdict.
//
// The gold is "Paris", a number (taken as it is written), ["Paris", "Ville de Paris"] (any of them is right),
// or
//   {"text": one of the above, "case": C, "space": S, "punctuation": P}
//
//   case         ignore (default): Unicode case folding; exact
//   space        collapse (default): a run of white space is one blank; ignore: white space is dropped; exact
//   punctuation  ends (default): . , ; : ! ? quotes, * _ and ` around the answer are dropped; ignore: all of
//                Unicode's punctuation is dropped, minus signs included; exact
//
// Under every policy, compatible forms are equal (Unicode NFKC: full-width letters, ligatures), white space
// around the answer is dropped, and invalid UTF-8 is read as U+FFFD.
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

// Returns a normal form: two texts are equal under a policy if their normal forms are.
std::string compared_text(std::string_view text, const TextPolicy& policy);

class TextVerifier {
 public:
  // Throws Error for a gold of another shape, an unknown field or policy, and a text whose normal form is
  // empty.
  explicit TextVerifier(const Json& gold);
  // `why` is "ok", one of free_answer.h's reasons, or wrong_text.
  Verdict verify(std::string_view response) const;

 private:
  TextPolicy policy_;
  std::vector<std::string> golds_;
};

}  // namespace r1
