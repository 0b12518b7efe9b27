// Translates Oniguruma's Ruby syntax to PCRE2's, character by character. The list of accepted constructs is
// closed: an escape or a group that is not named here is refused.
#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <vector>

#include "base/ascii.h"
#include "base/error.h"
#include "formats/shown.h"
#include "text/regex.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// The White_Space property (stable since Unicode 6.3). PCRE2's \s would add U+180E.
constexpr std::string_view kSpace =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
// Outside a class, Oniguruma's \w also matches the numbers of Latin-1 (superscripts and fractions).
constexpr std::string_view kWordAlone =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
// If case is ignored, Oniguruma also matches these pairs with one character (ß, ligatures). PCRE2 does not.
constexpr std::string_view kFoldedPairs[] = {"ss", "st", "ff", "fi", "fl"};

constexpr char32_t kNone = 0xFFFFFFFF;

class Translator {
 public:
  explicit Translator(std::string_view pattern)
      : in_(pattern), ignores_case_(pattern.find("(?i") != std::string_view::npos) {}

  std::string run() {
    while (at_ < in_.size()) {
      switch (in_[at_]) {
        case '\\':
          escape(false);
          break;
        case '[':
          character_class();
          break;
        case '(':
          group();
          break;
        case '{':
          repeat();
          break;
        default:
          check_folded_pair();
          copy_character();
          check_range(code_, code_);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("{} at offset {} of the pattern is not supported", what, at_));
  }
  bool ahead(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  void copy_character() {
    const Utf8Step step = decode_utf8(in_, at_);
    if (!step.valid || step.code == 0) refuse("an invalid character");
    check_case(step.code);
    code_ = step.code;
    out_.append(in_, at_, step.size);
    at_ += step.size;
  }
  // If case is ignored, some characters match sequences of others in Oniguruma and not in PCRE2.
  void check_case(char32_t code) const {
    const auto c = static_cast<UChar32>(code);
    if (ignores_case_ && code >= 0x80 &&
        (u_hasBinaryProperty(c, UCHAR_CASED) || u_hasBinaryProperty(c, UCHAR_CASE_IGNORABLE))) {
      refuse("a letter or mark outside ASCII in a pattern with (?i)");
    }
  }
  // In the text that is matched, older characters replace those that PCRE2 does not know.
  void check_range(char32_t first, char32_t last) const {
    if (last >= 0x80 && !is_kept_by_swapping(first, last)) {
      refuse("a character or range that splits a group of characters newer than Unicode 14");
    }
  }
  void check_folded_pair() const {
    if (!ignores_case_) return;
    size_t next = at_ + 1;
    while (next < in_.size() && (in_[next] == '(' || in_[next] == ')'))
      next += in_.substr(next).starts_with("(?:") ? 3 : 1;
    if (next >= in_.size()) return;
    const char pair[] = {lower(in_[at_]), lower(in_[next])};
    for (const std::string_view folded : kFoldedPairs) {
      if (std::string_view(pair, 2) == folded) refuse(fmt::format("{} in a pattern with (?i)", folded));
    }
  }
  static char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
  void copy(size_t count) {
    out_.append(in_, at_, count);
    at_ += count;
  }

  // Writes a set, either inside a class or as a class of its own.
  void put_set(std::string_view set, bool negated, bool in_class) {
    at_ += 2;
    if (!in_class) {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", set);
    } else if (!negated) {
      const bool range_before =
          out_.ends_with('-') && !out_.ends_with("[-") && !out_.ends_with("[^-") && !out_.ends_with("\\-");
      if (range_before || (ahead("-") && !ahead("-]"))) refuse("a range with a set for an end");
      out_ += set;
    } else {
      at_ -= 2;
      refuse("a negated set inside a class");
    }
  }

  void escape(bool in_class) {
    if (at_ + 1 >= in_.size()) refuse("a final backslash");
    const char kind = in_[at_ + 1];
    switch (kind) {
      case 's':
        return put_set(kSpace, false, in_class);
      case 'S':
        if (in_class) {
          out_ += "\\P{White_Space}";
          at_ += 2;
          return;
        }
        return put_set(kSpace, true, in_class);
      case 'w':
      case 'W':
        return put_set(in_class ? kWord : kWordAlone, kind == 'W', in_class);
      case 'h':
      case 'H':
        return put_set("0-9a-fA-F", kind == 'H', in_class);
      case 'v':  // vertical tab in Ruby, any vertical space in PCRE2
        out_ += "\\x{0B}";
        at_ += 2;
        code_ = 0x0B;
        return;
      case 'd':
      case 'D':
        out_ += kind == 'd' ? "\\p{Nd}" : "\\P{Nd}";
        at_ += 2;
        return;
      case 'p':
      case 'P':
        return property();
      case 'x':
      case 'u':
        return code_point(in_class);
      case 't':
      case 'n':
      case 'r':
      case 'f':
      case 'a':
      case 'e':
        code_ = 0x1B;  // any control character would do
        return copy(2);
      case 'b':
      case 'B':
        if (in_class) refuse("an anchor inside a class");
        return word_boundary(kind == 'B');
      case 'A':
      case 'z':
      case 'Z':
      case 'G':
        if (in_class) refuse("an anchor inside a class");
        return copy(2);
      default:
        break;
    }
    const auto byte = static_cast<unsigned char>(kind);
    if (byte >= 0x80 || std::isalnum(byte) || byte < 0x20) refuse("this escape");
    code_ = byte;
    copy(2);
  }

  // PCRE2's own \b is not used, because its word characters differ.
  void word_boundary(bool negated) {
    out_ += negated ? fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", kWordAlone)
                    : fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kWordAlone);
    at_ += 2;
  }

  // Reads general categories and Han. The replacements of new characters have the same values of these
  // properties.
  void property() {
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{') refuse("a property without braces");
    const size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) refuse("an unclosed property");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    bool negated = in_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    constexpr std::string_view kCategories =
        " C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl "
        "Zp Zs Han ";
    if (name.empty() || name.find(' ') != std::string_view::npos ||
        kCategories.find(fmt::format(" {} ", name)) == std::string_view::npos) {
      refuse(fmt::format("the property {}", shown(name)));
    }
    // For a bare script name, PCRE2 also matches its script extensions.
    out_ += fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', name == "Han" ? "sc:" : "", name);
    at_ = close + 1;
  }

  void code_point(bool in_class) {
    const bool braces = at_ + 2 < in_.size() && in_[at_ + 2] == '{';
    const size_t begin = at_ + (braces ? 3 : 2);
    const size_t most = braces ? 8 : in_[at_ + 1] == 'u' ? 4 : 2;
    size_t end = begin;
    while (end < in_.size() && end - begin < most && std::isxdigit(static_cast<unsigned char>(in_[end])))
      ++end;
    const bool closed = !braces || (end < in_.size() && in_[end] == '}');
    if (end == begin || !closed || (in_[at_ + 1] == 'u' && (braces || end - begin != 4)))
      refuse("this code point");
    const std::string digits(in_.substr(begin, end - begin));
    code_ = static_cast<char32_t>(std::stoul(digits, nullptr, 16));
    check_case(code_);
    if (!in_class) check_range(code_, code_);
    out_ += fmt::format("\\x{{{}}}", digits);
    at_ = end + (braces ? 1 : 0);
  }

  void character_class() {
    const size_t begin = out_.size();
    copy(1);
    const bool negated = ahead("^");
    if (negated) copy(1);
    if (ahead("]")) refuse("a class that begins with ]");
    char32_t first = kNone;  // the first character of a range whose end comes next
    while (true) {
      if (at_ >= in_.size()) refuse("an unclosed class");
      if (in_[at_] == ']') break;
      if (in_[at_] == '[') refuse("a class inside a class");
      if (ahead("&&")) {
        if (negated) refuse("an intersection in a negated class");
        return except_class(begin);
      }
      code_ = kNone;
      if (in_[at_] == '\\') {
        escape(true);
      } else {
        copy_character();
      }
      if (code_ == kNone) continue;  // it was a set
      if (first == kNone && ahead("-") && !ahead("-]")) {
        first = code_;
        copy(1);
      } else {
        check_range(first == kNone ? code_ : first, code_);
        first = kNone;
      }
    }
    copy(1);
  }

  // [A&&[^B]], which PCRE2 lacks: the class of what is neither outside A nor in B. A consists of general
  // categories; `begin` is where its class starts in out_.
  void except_class(size_t begin) {
    constexpr std::string_view kAll[] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                         "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                         "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};
    std::string_view categories = std::string_view(out_).substr(begin + 1);
    std::vector<std::string> within;
    while (categories.starts_with("\\p{") && !categories.starts_with("\\p{sc:")) {
      const size_t close = categories.find('}');
      within.emplace_back(categories.substr(3, close - 3));
      categories.remove_prefix(close + 1);
    }
    if (!categories.empty() || within.empty() || !ahead("&&[^"))
      refuse("an intersection other than of general categories with a negated class");
    std::string outside;
    for (const std::string_view one : kAll) {
      const auto holds = [&](const std::string& category) { return one.starts_with(category); };
      if (std::ranges::none_of(within, holds)) outside += fmt::format("\\p{{{}}}", one);
    }
    out_.resize(begin);
    at_ += 2;
    const size_t inner = out_.size();
    character_class();
    if (!ahead("]")) refuse("an intersection of more than two classes");
    ++at_;
    out_.insert(inner + 2, outside);
  }

  void group() {
    for (const std::string_view open :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:", "(?i)"}) {
      if (ahead(open)) return copy(open.size());
    }
    if (ahead("(?") || ahead("(*")) refuse("this group");
    copy(1);
  }

  // {n}, {n,} and {n,m} mean the same in both. {,m} does not, and neither does a following + or ?.
  void repeat() {
    size_t end = at_ + 1;
    size_t commas = 0;
    size_t digits = 0;
    for (; end < in_.size() && in_[end] != '}'; ++end) {
      if (in_[end] == ',') {
        ++commas;
      } else if (is_digit(in_[end])) {
        ++digits;
      } else {
        break;
      }
    }
    const bool is_repeat = end < in_.size() && in_[end] == '}' && digits > 0 && commas <= 1;
    if (!is_repeat) {  // the brace is an ordinary character
      out_ += "\\{";
      ++at_;
      return;
    }
    const char next = end + 1 < in_.size() ? in_[end + 1] : '\0';
    if (next == '+' || (next == '?' && commas == 0)) refuse("a repeat followed by + or ?");
    out_ += '{';
    ++at_;
    if (ahead(",")) out_ += '0';
    copy(end + 1 - at_);
  }

  std::string_view in_;
  bool ignores_case_;
  size_t at_ = 0;
  char32_t code_ = kNone;  // the last literal character
  std::string out_;
};

}  // namespace

std::string Regex::translate(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace r1
