// formats/shown.h: a name from an untrusted file, for a message: one line, of bounded length.
#pragma once

#include <string>
#include <string_view>

namespace r1 {

inline std::string shown(std::string_view name) {
  constexpr size_t kLongest = 200;
  std::string out;
  for (const char c : name.substr(0, kLongest))
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  if (name.size() > kLongest) {
    while (!out.empty() && (out.back() & 0xC0) == 0x80) out.pop_back();  // no half of a UTF-8 sequence
    if (!out.empty() && (out.back() & 0x80) != 0) out.pop_back();
    out += "...";
  }
  return out.empty() ? "\"\"" : out;
}

}  // namespace r1
