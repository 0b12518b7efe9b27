// Any JSON Schema compiles or gives an Error of one line, in both readings. What a compiled one writes is JSON.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/grammar/grammar.h"
#include "formats/json.h"

namespace {

// Writes a text: at each byte, one that may follow, chosen by the text so far.
std::string written(const std::shared_ptr<const r1::Grammar>& grammar) {
  r1::GrammarState state(grammar);
  std::string text;
  uint32_t random = 12345;
  while (state.can_continue()) {
    random = random * 1664525u + 1013904223u;
    if (state.is_complete() && random >> 31 == 0) break;
    if (text.size() > 300) return "";
    bool found = false;
    for (unsigned i = 0; i < 256 && !found; ++i) {
      const char byte = static_cast<char>(((random >> 20) & 0xFF) ^ i);
      r1::GrammarState next = state;
      if (!next.accept({&byte, 1})) continue;
      found = true;
      text += byte;
      state = next;
    }
    R1_CHECK(found, "no byte may follow ", text);
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const bool exact : {false, true}) {
    try {
      const r1::Json schema = r1::parse_json({reinterpret_cast<const char*>(data), size}, "schema");
      const std::string text = written(r1::Grammar::from_json_schema(schema, "schema", exact));
      if (text.empty()) continue;
      try {
        r1::parse_json(text, "written");
      } catch (const r1::Error& e) {
        // Free names may repeat.
        R1_CHECK(std::string_view(e.what()).find("uplicate") != std::string_view::npos ||
                     std::string_view(e.what()).find("twice") != std::string_view::npos,
                 text, ": ", e.what());
      }
    } catch (const r1::Error& e) {
      R1_CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, e.what());
    }
  }
  return 0;
}
