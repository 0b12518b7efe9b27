// For any text of a model, the text that is shown has no control characters except newlines and tabs.
#include <cstdint>
#include <cstdlib>

#include "cli/printable.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string shown = r1::printable({reinterpret_cast<const char*>(data), size});
  if (!r1::is_valid_utf8(shown)) std::abort();
  for (size_t at = 0; at < shown.size();) {
    const r1::Utf8Step step = r1::decode_utf8(shown, at);
    const bool is_control = step.code < 0x20 || (step.code >= 0x7F && step.code < 0xA0);
    if (is_control && step.code != '\n' && step.code != '\t') std::abort();
    at += static_cast<size_t>(step.size);
  }
  return 0;
}
