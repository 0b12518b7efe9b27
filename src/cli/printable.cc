#include "cli/printable.h"

#include "text/utf8.h"

namespace r1 {

std::string printable(std::string_view text) {
  constexpr char32_t kReplacement = 0xFFFD;
  constexpr char32_t kPictures = 0x2400;  // U+2400 + c is the picture of the C0 control c
  constexpr char32_t kPictureOfDelete = 0x2421;
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    at += static_cast<size_t>(step.size);
    char32_t code = step.valid ? step.code : kReplacement;
    if (code < 0x20 && code != '\n' && code != '\t') {
      code += kPictures;
    } else if (code == 0x7F) {
      code = kPictureOfDelete;
    } else if (code >= 0x80 && code < 0xA0) {
      code = kReplacement;
    }
    append_utf8(out, code);
  }
  return out;
}

}  // namespace r1
