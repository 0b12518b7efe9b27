// Any grammar in GBNF compiles or gives an Error of one line. A compiled one reads any text within its bounds;
// where it cannot go on it stays dead, and what it accepts can always be completed or goes on.
//
// Before the first byte 0 is the grammar, behind it the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/grammar/grammar.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(all.find('\0'), all.size());
  try {
    const auto grammar = r1::Grammar::from_gbnf(all.substr(0, cut), "fuzz.gbnf");
    r1::GrammarState state(grammar), whole(grammar);
    const std::string_view text = all.substr(std::min(cut + 1, all.size())).substr(0, 256);
    bool alive = true;
    for (const char byte : text) {
      const bool taken = state.accept({&byte, 1});
      R1_CHECK(alive || !taken, "a dead state went on");
      alive = taken;
      R1_CHECK(!alive || state.is_complete() || state.can_continue(), "a state without an end");
    }
    R1_CHECK(whole.accept(text) == !state.is_dead(), "the cuts matter");
    R1_CHECK(whole.is_complete() == state.is_complete(), "the cuts matter");
  } catch (const r1::Error& e) {
    R1_CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, e.what());
  }
  return 0;
}
