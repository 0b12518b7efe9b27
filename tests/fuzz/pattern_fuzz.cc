// Any bytes as a regular expression make an automaton within the bounds, or an Error of one line. A text that the whole expression
// matches is also one in which the expression occurs.
//
// Before the first byte 0 is the expression, behind it the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/grammar/pattern.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::string_view pattern = all.substr(0, std::min(all.find('\0'), all.size()));
  const std::string_view text = all.substr(std::min(pattern.size() + 1, all.size())).substr(0, 256);
  try {
    const r1::CodeAutomaton whole = r1::whole_pattern_language(pattern);
    if (!r1::is_valid_utf8(text) || !r1::accepts_text(whole, text)) return 0;
    R1_CHECK(r1::accepts_text(r1::pattern_language(pattern), text), "a whole match that is no match");
  } catch (const r1::Error& e) {
    R1_CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, e.what());
  }
  return 0;
}
