// reward/math/plain_form.cc: removes differences of spelling from text.
#include <algorithm>
#include <array>
#include <string>

#include "base/ascii.h"
#include "reward/answer_text.h"
#include "reward/math/math_verifier.h"

namespace r1 {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (text.find(from) == std::string::npos) return;
  std::string out;
  for (size_t at = 0;;) {
    const size_t next = text.find(from, at);
    out.append(text, at, next - at);
    if (next == std::string::npos) break;
    out += to;
    at = next + from.size();
  }
  text = std::move(out);
}

// Adds the braces that \frac12 and \sqrt2 leave out.
void add_braces(std::string& text, std::string_view macro, int arguments) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text.compare(at, macro.size(), macro) != 0 ||
        (at + macro.size() < text.size() && is_letter(text[at + macro.size()]))) {
      out += text[at++];
      continue;
    }
    out += macro;
    at += macro.size();
    for (int i = 0; i < arguments && at < text.size() && (is_digit(text[at]) || is_letter(text[at])); ++i) {
      out += {'{', text[at], '}'};
      ++at;
    }
  }
  text = std::move(out);
}

// Removes the commas of 1,234,567: each stands between groups of three digits; the first group has one to
// three.
void join_thousands(std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    const size_t digits = end - at;
    if (digits == 0) {
      out += text[at++];
      continue;
    }
    out.append(text, at, digits);
    const auto group = [&](size_t i) {
      if (i >= text.size() || text[i] != ',') return false;
      size_t n = 0;
      while (i + 1 + n < text.size() && is_digit(text[i + 1 + n])) ++n;
      return n == 3;
    };
    while (digits <= 3 && group(end)) {
      out.append(text, end + 1, 3);
      end += 4;
    }
    at = end;
  }
  text = std::move(out);
}

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_digit);
}

// Turns "x=42" into 42, "3/4" and "0.5" into fractions, and ".7" into 0.7.
void normalise_number(std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && equals <= 2 && text.find('=', equals + 1) == std::string::npos)
    text.erase(0, equals + 1);
  if (text.starts_with('.')) text.insert(0, "0");
  if (text == "0.5") text = "\\frac{1}{2}";
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return;
  const std::string num = text.substr(0, slash), den = text.substr(slash + 1);
  if (is_number(num) && is_number(den)) text = "\\frac{" + num + "}{" + den + "}";
}

}  // namespace

std::string spelling_form(std::string_view given) {
  std::string text(unwrapped(given));
  for (const std::string_view gone :
       {"\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\ ", "\\displaystyle", " ", "\n", "\t", "\r"})
    replace_all(text, gone, "");
  replace_all(text, "{,}", ",");
  for (const std::string_view fraction : {"\\dfrac", "\\tfrac", "\\cfrac"})
    replace_all(text, fraction, "\\frac");
  add_braces(text, "\\frac", 2);
  add_braces(text, "\\sqrt", 1);
  return text;
}

std::string plain_form(std::string_view given) {
  std::string text(unwrapped(given));
  // Removes an article in front and a unit behind a number.
  for (const std::string_view article : {"an ", "a ", "the "}) {
    if (text.size() > article.size() &&
        equal_ignoring_case(std::string_view(text).substr(0, article.size()), article))
      text.erase(0, article.size());
  }
  if (const size_t blank = text.find(' ');
      blank != std::string::npos && is_number(text.substr(0, blank)) && is_word(text.substr(blank + 1)))
    text.erase(blank);
  for (const std::string_view gone : {"\\%", "%", "\\$", "$", "^{\\circ}", "^\\circ"})
    replace_all(text, gone, "");
  text = spelling_form(text);
  join_thousands(text);
  normalise_number(text);
  return text;
}

}  // namespace r1
