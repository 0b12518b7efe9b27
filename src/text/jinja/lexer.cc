#include "text/jinja/lexer.h"

#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "text/utf8.h"

namespace r1::jinja {
namespace {

bool is_name_start(char c) {
  return is_letter(c) || c == '_' || (c & 0x80) != 0;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : in_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < in_.size()) data();
    put(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string_view reason) const { throw TemplateError(std::string(reason), line_); }
  bool ahead(std::string_view text) const { return std::string_view(in_).substr(at_).starts_with(text); }
  void put(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void pass(size_t count) {
    line_ += static_cast<int>(std::count(in_.begin() + at_, in_.begin() + at_ + count, '\n'));
    at_ += count;
  }
  size_t spaces_at(size_t at) const {
    const size_t begin = at;
    while (at < in_.size()) {
      const Utf8Step step = decode_utf8(in_, at);
      if (!is_python_space(step.code)) break;
      at += step.size;
    }
    return at - begin;
  }

  // Reads the text up to the next tag, trimmed as the tag requires, and the tag.
  void data() {
    size_t tag = in_.find('{', at_);
    while (tag != std::string::npos &&
           (tag + 1 >= in_.size() || std::string_view("{%#").find(in_[tag + 1]) == std::string_view::npos)) {
      tag = in_.find('{', tag + 1);
    }
    if (tag == std::string::npos) {
      put(Token::Kind::text, in_.substr(at_));
      at_ = in_.size();
      return;
    }
    std::string_view text = std::string_view(in_).substr(at_, tag - at_);
    const char kind = in_[tag + 1];
    const char sign = tag + 2 < in_.size() ? in_[tag + 2] : '\0';
    if (sign == '-') {
      text = strip_end(text);
    } else if (sign != '+' && kind != '{') {
      text = strip_line(text);
    }
    if (!text.empty()) put(Token::Kind::text, std::string(text));
    pass(tag - at_);
    const size_t open = sign == '-' || sign == '+' ? 3 : 2;
    if (kind == '#') {
      comment(open);
    } else if (kind == '{') {
      put(Token::Kind::output_begin, "");
      pass(open);
      expression(Token::Kind::output_end, "}}");
    } else if (!raw(open)) {
      put(Token::Kind::statement_begin, "");
      pass(open);
      expression(Token::Kind::statement_end, "%}");
    }
  }

  static std::string_view strip_end(std::string_view text) {
    while (!text.empty()) {
      size_t last = text.size() - 1;
      while (last > 0 && (text[last] & 0xC0) == 0x80) --last;
      if (!is_python_space(decode_utf8(text, last).code)) break;
      text = text.substr(0, last);
    }
    return text;
  }

  // Removes the text before the tag on its line if it is only white space.
  std::string_view strip_line(std::string_view text) const {
    const size_t newline = text.rfind('\n');
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (begin == 0 && !line_starting_) return text;
    for (size_t at = begin; at < text.size();) {
      const Utf8Step step = decode_utf8(text, at);
      if (!is_python_space(step.code)) return text;
      at += step.size;
    }
    return text.substr(0, begin);
  }

  // Skips white space after a tag's end: all of it after a minus, otherwise (trim) one newline.
  void after_tag(char sign, size_t size, bool trim) {
    const size_t begin = at_;
    pass(size);
    if (sign == '-') {
      pass(spaces_at(at_));
    } else if (trim && sign != '+' && ahead("\n")) {
      pass(1);
    }
    line_starting_ = at_ > begin && in_[at_ - 1] == '\n';
  }

  void comment(size_t open) {
    const size_t end = in_.find("#}", at_ + open);
    if (end == std::string::npos) fail("a comment is not closed");
    const char sign = end > at_ + open - 1 ? in_[end - 1] : '\0';
    pass(end - at_);
    after_tag(sign == '-' || sign == '+' ? sign : '\0', 2, true);
  }

  // Reads {% raw %} ... {% endraw %}. Returns false for any other statement.
  bool raw(size_t open) {
    size_t at = at_ + open;
    at += spaces_at(at);
    if (!std::string_view(in_).substr(at).starts_with("raw")) return false;
    at += 3;
    at += spaces_at(at);
    char sign = '\0';
    if (at < in_.size() && (in_[at] == '-' || in_[at] == '+')) sign = in_[at++];
    if (!std::string_view(in_).substr(at).starts_with("%}")) return false;
    pass(at - at_);
    after_tag(sign, 2, false);  // a newline after {% raw %} stays
    const size_t begin = at_;
    for (size_t tag = in_.find("{%", at_); tag != std::string::npos; tag = in_.find("{%", tag + 2)) {
      size_t name = tag + 2;
      const char before = name < in_.size() ? in_[name] : '\0';
      if (before == '-' || before == '+') ++name;
      name += spaces_at(name);
      if (!std::string_view(in_).substr(name).starts_with("endraw")) continue;
      name += 6;
      name += spaces_at(name);
      char after = '\0';
      if (name < in_.size() && (in_[name] == '-' || in_[name] == '+')) after = in_[name++];
      if (!std::string_view(in_).substr(name).starts_with("%}")) continue;
      std::string_view text = std::string_view(in_).substr(begin, tag - begin);
      if (before == '-') {
        text = strip_end(text);
      } else if (before != '+') {
        text = strip_line(text);
      }
      if (!text.empty()) put(Token::Kind::text, std::string(text));
      pass(name - at_);
      after_tag(after, 2, true);
      return true;
    }
    fail("raw is not closed");
  }

  void expression(Token::Kind end_kind, std::string_view end) {
    std::vector<char> open;  // open brackets: inside them "}}" may close two dicts
    while (true) {
      pass(spaces_at(at_));
      if (at_ >= in_.size()) fail(end == "}}" ? "{{ is not closed" : "{% is not closed");
      if (open.empty()) {
        const char sign = in_[at_];
        const size_t signs = sign == '-' || (sign == '+' && end == "%}") ? 1 : 0;
        if (std::string_view(in_).substr(at_ + signs).starts_with(end)) {
          put(end_kind, "");
          after_tag(signs == 1 ? sign : '\0', signs + 2, end == "%}");
          return;
        }
      }
      token(open);
    }
  }

  void token(std::vector<char>& open) {
    const char c = in_[at_];
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < in_.size() && (is_name_start(in_[end]) || is_digit(in_[end]))) ++end;
      put(Token::Kind::name, in_.substr(at_, end - at_));
      pass(end - at_);
    } else if (is_digit(c)) {
      number();
    } else if (c == '"' || c == '\'') {
      string(c);
    } else {
      sign(open);
    }
  }

  void number() {
    size_t end = at_;
    bool is_float = false;
    if (based_number()) return;
    const auto digits = [&] {
      while (end < in_.size() &&
             (is_digit(in_[end]) || (in_[end] == '_' && end + 1 < in_.size() && is_digit(in_[end + 1]))))
        ++end;
    };
    digits();
    if (end + 1 < in_.size() && in_[end] == '.' && is_digit(in_[end + 1])) {
      is_float = true;
      ++end;
      digits();
    }
    if (end + 1 < in_.size() && (in_[end] == 'e' || in_[end] == 'E')) {
      const size_t exponent = end + (in_[end + 1] == '+' || in_[end + 1] == '-' ? 2 : 1);
      if (exponent < in_.size() && is_digit(in_[exponent])) {
        is_float = true;
        end = exponent;
        digits();
      }
    }
    std::string text = in_.substr(at_, end - at_);
    std::erase(text, '_');
    if (text.size() > 40) fail("a number is too long");
    put(is_float ? Token::Kind::number : Token::Kind::integer, std::move(text));
    pass(end - at_);
  }

  // Reads 0x1F, 0o17, 0b101.
  bool based_number() {
    const char kind = at_ + 1 < in_.size() && in_[at_] == '0' ? static_cast<char>(in_[at_ + 1] | 0x20) : '\0';
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (base == 0) return false;
    size_t end = at_ + 2;
    while (end < in_.size() && (is_digit(in_[end]) || is_letter(in_[end]) || in_[end] == '_')) ++end;
    std::string digits = in_.substr(at_ + 2, end - at_ - 2);
    std::erase(digits, '_');
    uint64_t value = 0;
    const auto [stop, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (ec != std::errc() || stop != digits.data() + digits.size())
      fail("a number is malformed or too large");
    put(Token::Kind::integer, std::to_string(value));
    pass(end - at_);
    return true;
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < in_.size() && in_[end] != quote) end += in_[end] == '\\' ? 2 : 1;
    if (end >= in_.size()) fail("a string is not closed");
    put(Token::Kind::string, unescape(std::string_view(in_).substr(at_ + 1, end - at_ - 1)));
    pass(end + 1 - at_);
  }

  // Replaces Python's string escapes. An unknown escape keeps its backslash.
  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      if (text[at] != '\\' || at + 1 >= text.size()) {
        out += text[at++];
        continue;
      }
      const char c = text[at + 1];
      constexpr std::string_view kNames = "nrtbfav\\'\"";
      constexpr std::string_view kCodes = "\n\r\t\b\f\a\v\\'\"";
      if (const size_t i = kNames.find(c); i != std::string_view::npos) {
        out += kCodes[i];
        at += 2;
      } else if (c == '\n') {
        at += 2;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        at = hex_escape(text, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
      } else if (c >= '0' && c <= '7') {
        size_t end = at + 1;
        char32_t code = 0;
        while (end < text.size() && end < at + 4 && text[end] >= '0' && text[end] <= '7')
          code = code * 8 + (text[end++] - '0');
        append_utf8(out, code);
        at = end;
      } else {
        out += '\\';
        ++at;
      }
    }
    return out;
  }

  size_t hex_escape(std::string_view text, size_t at, size_t digits, std::string& out) const {
    const auto read = [&](size_t from, size_t count) {
      uint32_t code = 0;
      for (size_t i = from; i < from + count; ++i) {
        const char c = i < text.size() ? text[i] : '\0';
        const int digit = is_digit(c)            ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) fail("an escape in a string is cut short");
        code = code << 4 | static_cast<uint32_t>(digit);
      }
      return code;
    };
    uint32_t code = read(at + 2, digits);
    size_t end = at + 2 + digits;
    if (code >= 0xD800 && code < 0xDC00 && text.substr(end).starts_with("\\u")) {
      const uint32_t low = read(end + 2, 4);
      if (low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        end += 6;
      }
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail("an escape in a string is no character");
    append_utf8(out, code);
    return end;
  }

  void sign(std::vector<char>& open) {
    for (const std::string_view two : {"//", "**", "==", "!=", "<=", ">="}) {
      if (ahead(two)) {
        put(Token::Kind::sign, std::string(two));
        pass(2);
        return;
      }
    }
    const char c = in_[at_];
    constexpr std::string_view kOpen = "([{";
    constexpr std::string_view kClose = ")]}";
    if (std::string_view("+-*/%~<>=.,:;|()[]{}").find(c) == std::string_view::npos)
      fail(fmt::format("unexpected character {:?}", std::string_view(&c, 1)));
    if (const size_t i = kOpen.find(c); i != std::string_view::npos) open.push_back(kClose[i]);
    if (kClose.find(c) != std::string_view::npos) {
      if (open.empty() || open.back() != c) fail(fmt::format("unexpected {}", c));
      open.pop_back();
    }
    put(Token::Kind::sign, std::string(1, c));
    pass(1);
  }

  std::string in_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

bool is_python_space(char32_t code) {
  return u_isUWhiteSpace(static_cast<UChar32>(code)) || (code >= 0x1C && code <= 0x1F);
}

std::vector<Token> tokenize(std::string_view source) {
  if (!is_valid_utf8(source)) throw TemplateError("the template is not UTF-8", 1);
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {  // all line ends become "\n"
    if (source[i] == '\r') {
      if (i + 1 >= source.size() || source[i + 1] != '\n') text += '\n';
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return Lexer(std::move(text)).run();
}

}  // namespace r1::jinja
