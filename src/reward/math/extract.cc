#include "reward/math/extract.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/ascii.h"
#include "reward/answer_text.h"

namespace r1::math {
namespace {

constexpr size_t kNone = std::string_view::npos;

struct Span {
  size_t begin = 0, end = 0;  // including the delimiters
  size_t inside_begin = 0, inside_end = 0;
};

std::string_view inside(std::string_view text, const Span& span) {
  return text.substr(span.inside_begin, span.inside_end - span.inside_begin);
}

std::vector<Span> boxes_of(std::string_view text) {
  std::vector<Span> out;
  for (size_t at = 0;;) {
    const size_t begin = text.find('\\', at);
    if (begin == kNone) return out;
    const bool boxed = text.substr(begin, 6) == "\\boxed", fbox = text.substr(begin, 5) == "\\fbox";
    if (!boxed && !fbox) {
      at = begin + 1;
      continue;
    }
    size_t open = begin + (boxed ? 6 : 5);
    while (open < text.size() && is_blank(text[open])) ++open;
    at = open;
    if (open >= text.size() || text[open] != '{') continue;
    const size_t end = closing_brace(text, open);
    if (end == kNone) return out;
    out.push_back({begin, end, open + 1, end - 1});
    at = end;
  }
}

// Finds $...$ and \(...\), which must end on their line, and $$...$$ and \[...\].
std::vector<Span> formulas_of(std::string_view text) {
  std::vector<Span> out;
  // Before these positions no closing delimiter of the kind ($, \(, \[) follows. They keep the time linear.
  std::array<size_t, 3> open_until{};
  for (size_t at = 0; at < text.size();) {
    std::string_view close;
    size_t open = 0;
    if (text[at] == '\\' && at + 1 < text.size()) {
      if (text[at + 1] == '(') close = "\\)";
      if (text[at + 1] == '[') close = "\\]";
      open = 2;
    } else if (text[at] == '$') {
      close = text.substr(at, 2) == "$$" ? "$$" : "$";
      open = close.size();
    }
    if (close.empty()) {
      at += text[at] == '\\' ? 2 : 1;
      continue;
    }
    const bool one_line = close == "$" || close == "\\)";
    size_t& hopeless = open_until[close[0] == '$' ? 0 : close == "\\)" ? 1 : 2];
    if (at < hopeless) {
      at += open;
      continue;
    }
    size_t end = at + open;
    for (; end < text.size(); ++end) {
      if (text.substr(end, close.size()) == close) break;
      if (one_line && text[end] == '\n') break;
      if (text[end] == '\\') ++end;
    }
    if (end >= text.size() || text.substr(end, close.size()) != close) {
      hopeless = close == "$$" ? hopeless : std::min(end, text.size());
      at += open;
      continue;
    }
    out.push_back({at, end + close.size(), at + open, end});
    at = end + close.size();
  }
  return out;
}

// Returns true if the text may stand between two answers of one list: , ; "and", "or", delimiters, spaces,
// "y_2 =".
bool is_connector(std::string_view between) {
  if (between.size() > 40) return false;
  std::string text;
  for (size_t i = 0; i < between.size(); ++i) {
    const char c = between[i];
    if (is_blank(c) || c == '$' || c == ',' || c == ';' || c == '.') continue;
    if (c == '\\' && i + 1 < between.size() && std::string_view("()[],;!:").find(between[i + 1]) != kNone) {
      ++i;
      continue;
    }
    text += c;
  }
  for (const std::string_view word : {"\\text{and}", "\\text{or}", "\\quad", "and", "or"}) {
    for (size_t at = text.find(word); at != kNone; at = text.find(word)) text.erase(at, word.size());
  }
  // A name for the next answer may precede "=": x, y_2, f(x).
  if (!text.ends_with('=')) return text.empty();
  text.pop_back();
  if (text.empty() || text.size() > 8 || !is_letter(text[0])) return false;
  return std::ranges::all_of(text, [](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '{' || c == '}' || c == '(' || c == ')';
  });
}

// Returns the last span and the spans before it that belong to the same list, joined by commas.
std::string joined(std::string_view text, const std::vector<Span>& spans) {
  size_t first = spans.size() - 1;
  while (first > 0 &&
         is_connector(text.substr(spans[first - 1].end, spans[first].begin - spans[first - 1].end)))
    --first;
  std::string out;
  for (size_t i = first; i < spans.size(); ++i) {
    if (i > first) out += ", ";
    out += inside(text, spans[i]);
  }
  return out;
}

// Returns the last number of the text with its sign and percent sign. Digits that touch a letter in front are
// not a number (AZ2, v1.5).
std::optional<std::string> last_number(std::string_view text) {
  for (size_t end = text.size(); end > 0; --end) {
    if (!is_digit(text[end - 1])) continue;
    size_t begin = end - 1;
    const auto in_number = [&](size_t i) {
      const char c = text[i];
      if (is_digit(c)) return true;
      const bool between = i > 0 && is_digit(text[i - 1]) && i + 1 < text.size() && is_digit(text[i + 1]);
      if (c == '.') return i + 1 < text.size() && is_digit(text[i + 1]);
      return between && (c == ',' || c == '/');
    };
    while (begin > 0 && in_number(begin - 1)) --begin;
    if (begin > 0 && (is_letter(text[begin - 1]) || text[begin - 1] == '_')) {
      end = begin + 1;
      continue;
    }
    std::string out;
    size_t sign = begin;
    while (sign > 0 && (text[sign - 1] == '$' || text[sign - 1] == '\\')) --sign;
    const bool minus =
        sign > 0 && text[sign - 1] == '-' &&
        (sign == 1 || is_blank(text[sign - 2]) || text[sign - 2] == '(' || text[sign - 2] == '$' ||
         text[sign - 2] == '*' || text[sign - 2] == '=' || text[sign - 2] == ':');
    if (minus || (sign >= 3 && text.substr(sign - 3, 3) == "−")) out = "-";
    out += text.substr(begin, end - begin);
    std::string_view rest = text.substr(end);
    if (rest.starts_with('%') || rest.starts_with("\\%") || rest.starts_with(" %") ||
        rest.starts_with(" \\%"))
      out += '%';
    return out;
  }
  return std::nullopt;
}

// Returns the text up to the end of the sentence: a line end, or a full stop before a blank or the end,
// outside formulas.
std::string_view sentence(std::string_view text) {
  while (!text.empty() && (is_blank(text[0]) || text[0] == ':' || text[0] == '*')) text.remove_prefix(1);
  const std::vector<Span> formulas = formulas_of(text.substr(0, 2000));
  size_t next = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    while (next < formulas.size() && formulas[next].end <= at) ++next;
    if (next < formulas.size() && at >= formulas[next].begin) {
      at = formulas[next].end - 1;
      continue;
    }
    const bool stop =
        text[at] == '.' && (at + 1 == text.size() || is_blank(text[at + 1]) || text[at + 1] == '<');
    if (stop || text[at] == '\n' || text.substr(at, 2) == "<|") return text.substr(0, at);
  }
  return text;
}

constexpr auto kPhrases = std::to_array<std::string_view>(
    {"answer is", "answer:", "answers are", "answer =", "answer to the question is", "answer would be",
     "answer will be", "answer\\*\\*:", "answer**:", "answer**"});

// Returns the end of the last phrase, or kNone if there is none.
size_t last_phrase(std::string_view text) {
  size_t found = kNone;
  for (size_t at = 0; at + 6 < text.size(); ++at) {
    if (to_lower(text[at]) != 'a' || (at > 0 && is_letter(text[at - 1]))) continue;
    for (const std::string_view phrase : kPhrases) {
      if (equal_ignoring_case(text.substr(at, phrase.size()), phrase)) found = at + phrase.size();
    }
  }
  return found;
}

void add(std::vector<Candidate>& out, Source source, std::string text) {
  if (!trim(text).empty()) out.push_back({source, std::move(text)});
}

// Adds the readings of a sentence that gives the answer, best first.
void add_phrase(std::vector<Candidate>& out, std::string_view said, const ExtractOptions& options) {
  said = trim(said);
  if (const auto boxes = boxes_of(said); !boxes.empty()) return add(out, Source::phrase, joined(said, boxes));
  if (const auto formulas = formulas_of(said); !formulas.empty() && options.latex) {
    const std::string_view behind = said.substr(formulas.back().end);
    if (last_number(behind) == std::nullopt) add(out, Source::phrase, joined(said, formulas));
  }
  add(out, Source::phrase, std::string(said));
  for (const std::string_view word : {" is ", " are ", "="}) {
    const size_t at = said.rfind(word);
    if (at != kNone) add(out, Source::phrase, std::string(said.substr(at + word.size())));
  }
  if (!options.numbers) return;
  if (auto number = last_number(said)) add(out, Source::phrase, std::move(*number));
}

}  // namespace

std::string_view behind_thought(std::string_view text) {
  constexpr std::string_view kClose = "</think>";
  const size_t at = text.rfind(kClose);
  if (at != kNone) return text.substr(at + kClose.size());
  return trim(text).starts_with("<think>") ? std::string_view() : text;
}

std::vector<Candidate> candidates_of(std::string_view text, const ExtractOptions& options) {
  text = behind_thought(text);
  if (text.size() > kMaxFreeTextBytes) text.remove_prefix(text.size() - kMaxFreeTextBytes);
  std::vector<Candidate> out;
  if (const size_t open = text.rfind("<answer>"); open != kNone) {
    std::string_view said = text.substr(open + 8);
    said = said.substr(0, said.find("</answer>"));
    if (const auto boxes = boxes_of(said); !boxes.empty()) add(out, Source::tag, joined(said, boxes));
    add(out, Source::tag, std::string(said));
    return out;
  }
  const std::vector<Span> boxes = boxes_of(text);
  const size_t box_end = boxes.empty() ? 0 : boxes.back().end;
  const size_t hashes = text.rfind("####");
  const size_t hashes_end = hashes == kNone ? 0 : hashes + 4;
  const size_t phrase = last_phrase(text);
  if (phrase != kNone && phrase > box_end && phrase > hashes_end)
    add_phrase(out, sentence(text.substr(phrase)), options);
  if (!boxes.empty() && box_end > hashes_end) add(out, Source::boxed, joined(text, boxes));
  if (hashes != kNone) {
    const std::string_view rest = text.substr(hashes_end);
    add(out, Source::hashes, std::string(rest.substr(0, rest.find('\n'))));
  }
  if (!boxes.empty() && box_end <= hashes_end) add(out, Source::boxed, joined(text, boxes));
  if (!out.empty()) return out;
  if (phrase != kNone) add_phrase(out, sentence(text.substr(phrase)), options);
  const std::vector<Span> formulas = options.latex ? formulas_of(text) : std::vector<Span>();
  const auto number = options.numbers ? last_number(text) : std::nullopt;
  // If the last number stands behind the last formula, it comes first.
  const bool number_last = number && (formulas.empty() || last_number(text.substr(formulas.back().end)));
  if (number_last) add(out, Source::number, *number);
  if (!formulas.empty()) add(out, Source::math, joined(text, formulas));
  if (number && !number_last) add(out, Source::number, *number);
  return out;
}

char choice_of(std::string_view text) {
  text = behind_thought(text);
  if (text.size() > kMaxFreeTextBytes) text.remove_prefix(text.size() - kMaxFreeTextBytes);
  const auto alone = [&](size_t at) {
    const char c = text[at];
    if (c < 'A' || c > 'J') return false;
    if (at > 0 &&
        (is_letter(text[at - 1]) || is_digit(text[at - 1]) || text[at - 1] == '\'' || text[at - 1] == '\\'))
      return false;
    return at + 1 == text.size() || !(is_letter(text[at + 1]) || is_digit(text[at + 1]) ||
                                      text[at + 1] == '\'' || text[at + 1] == '_');
  };
  if (const auto boxes = boxes_of(text); !boxes.empty()) {
    const std::string_view said = inside(text, boxes.back());
    text = said;
  } else if (const size_t phrase = last_phrase(text); phrase != kNone) {
    text = text.substr(phrase);
    for (size_t at = 0; at < text.size(); ++at) {
      if (alone(at)) return text[at];
    }
    return '\0';
  }
  const std::string_view start = trim(text);
  if (!start.empty()) {
    const size_t at = static_cast<size_t>(start.data() - text.data()) + (start[0] == '(' ? 1 : 0);
    if (at < text.size() && alone(at)) {
      const std::string_view behind = text.substr(at + 1);
      // In "A cat" the letter is an article; in "A Peter" and "D. it" it is a choice.
      if (behind.empty() || std::string_view(".):,\n}").find(behind[0]) != kNone ||
          (behind.size() > 1 && behind[0] == ' ' && behind[1] >= 'A' && behind[1] <= 'Z'))
        return text[at];
    }
  }
  for (size_t at = text.size(); at-- > 0;) {
    if (alone(at)) return text[at];
  }
  return '\0';
}

}  // namespace r1::math
