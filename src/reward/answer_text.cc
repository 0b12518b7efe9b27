#include "reward/answer_text.h"

#include <array>

#include "base/ascii.h"

namespace r1 {
namespace {

constexpr size_t kNone = std::string_view::npos;

constexpr auto kWrappers = std::to_array<std::string_view>(
    {"\\boxed", "\\fbox", "\\text", "\\textbf", "\\textit", "\\mathrm", "\\mathbf", "\\mbox", "\\textrm"});

// The inside of open...close if these are the ends of `text` and neither occurs in between.
std::string_view between(std::string_view text, std::string_view open, std::string_view close) {
  if (text.size() < open.size() + close.size() || !text.starts_with(open) || !text.ends_with(close))
    return {};
  const std::string_view inside = text.substr(open.size(), text.size() - open.size() - close.size());
  return inside.find(close) == kNone && inside.find(open) == kNone ? inside : std::string_view();
}

// The inside of one wrapper around all of `text`; an empty view that points nowhere if there is none.
std::string_view one_wrapper_less(std::string_view text) {
  for (const auto& [open, close] :
       {std::pair{"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}, {"**", "**"}}) {
    const std::string_view inside = between(text, open, close);
    // "\$5 or 6$" ends in no delimiter of ours.
    if (inside.data() != nullptr && !inside.ends_with('\\')) return inside;
  }
  for (const std::string_view macro : kWrappers) {
    if (!text.starts_with(macro)) continue;
    std::string_view rest = trim(text.substr(macro.size()));
    if (!rest.starts_with('{') || closing_brace(rest, 0) != rest.size()) continue;
    return rest.substr(1, rest.size() - 2);
  }
  return {};
}

}  // namespace

size_t closing_brace(std::string_view text, size_t open) {
  size_t depth = 0;
  for (size_t at = open; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '{') {
      ++depth;
    } else if (text[at] == '}' && --depth == 0) {
      return at + 1;
    }
  }
  return kNone;
}

std::string_view unwrapped(std::string_view text) {
  constexpr int kMostWrappers = 8;  // each costs a pass over the text
  text = trim(text);
  for (int i = 0; i < kMostWrappers; ++i) {
    std::string_view inside = one_wrapper_less(text);
    if (inside.data() == nullptr && text.ends_with('.'))
      inside = one_wrapper_less(trim(text.substr(0, text.size() - 1)));
    if (inside.data() == nullptr) break;
    text = trim(inside);
  }
  return text;
}

std::optional<std::string_view> last_boxed(std::string_view text) {
  size_t at = kNone, size = 0;
  for (const std::string_view macro : {"\\boxed", "\\fbox"}) {
    const size_t found = text.rfind(macro);
    if (found == kNone || (at != kNone && found < at)) continue;
    at = found;
    size = macro.size();
  }
  if (at == kNone) return std::nullopt;
  size_t open = at + size;
  while (open < text.size() && is_blank(text[open])) ++open;
  if (open == text.size() || text[open] != '{') return std::nullopt;
  const size_t end = closing_brace(text, open);
  if (end == kNone) return std::nullopt;
  return text.substr(open + 1, end - open - 2);
}

}  // namespace r1
