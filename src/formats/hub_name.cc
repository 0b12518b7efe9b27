#include "formats/hub_name.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "formats/shown.h"

namespace r1 {
namespace {

bool is_name_character(char c) {
  return is_letter(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
}

// The hub's rule for the name of an owner or a model.
bool is_hub_part(std::string_view part) {
  constexpr size_t kLongest = 96;
  const auto is_edge = [](char c) { return c == '-' || c == '.'; };
  return !part.empty() && part.size() <= kLongest && std::ranges::all_of(part, is_name_character) &&
         !is_edge(part.front()) && !is_edge(part.back()) && part.find("--") == std::string_view::npos &&
         part.find("..") == std::string_view::npos;
}

bool is_revision(std::string_view text) {
  constexpr size_t kLongest = 200;
  if (text.empty() || text.size() > kLongest || text.find("//") != std::string_view::npos ||
      text.find("..") != std::string_view::npos || text.ends_with('/') || text.ends_with(".lock"))
    return false;
  bool begins = true;
  for (const char c : text) {
    if (!is_name_character(c) && c != '/') return false;
    if (begins && (c == '/' || c == '.' || c == '-')) return false;
    begins = c == '/';
  }
  return true;
}

}  // namespace

std::string HubName::text() const {
  return repo + (quant.empty() ? "" : ":" + quant) + (revision.empty() ? "" : "@" + revision);
}

std::optional<HubName> read_hub_name(std::string_view text) {
  HubName name;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    name.revision = text.substr(at + 1);
    text = text.substr(0, at);
    if (!is_revision(name.revision)) return std::nullopt;
  }
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    name.quant = text.substr(colon + 1);
    text = text.substr(0, colon);
    if (name.quant.empty() || name.quant.size() > 200 || !std::ranges::all_of(name.quant, is_name_character))
      return std::nullopt;
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || !is_hub_part(text.substr(0, slash)) ||
      !is_hub_part(text.substr(slash + 1)))
    return std::nullopt;
  name.repo = text;
  return name;
}

HubName hub_name_of(std::string_view text) {
  const auto name = read_hub_name(text);
  if (!name)
    throw Error(
        fmt::format("{} is no name of a model on the hub; such a name is org/name[:quant][@revision], for "
                    "example deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
                    shown(text)));
  return *name;
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         std::ranges::all_of(text, [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

bool is_hub_commit(std::string_view text) {
  return is_hex(text, 40);
}

}  // namespace r1
