#include "server/url_text.h"

#include <fmt/format.h>

#include <utility>

#include "formats/shown.h"
#include "server/api_error.h"

namespace r1 {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int small = c | 0x20;
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

// Cuts `text` at its first `mark`, which belongs to neither part.
std::pair<std::string_view, std::string_view> cut_at(std::string_view text, char mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::map<std::string, std::string> query_parameters(std::string_view query) {
  std::map<std::string, std::string> out;
  while (!query.empty()) {
    const auto [part, rest] = cut_at(query, '&');
    query = rest;
    if (part.empty()) continue;
    const auto [name_text, value] = cut_at(part, '=');
    const std::string name = percent_decoded(name_text);
    if (!out.emplace(name, percent_decoded(value)).second)
      throw ApiError(fmt::format("the parameter {} is given twice", shown(name)), {.param = name});
  }
  return out;
}

}  // namespace r1
