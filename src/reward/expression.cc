#include "reward/expression.h"

#include <array>
#include <limits>
#include <optional>

#include "base/ascii.h"

namespace r1 {
namespace {

bool is_word_byte(char c) {
  return is_letter(c) || static_cast<unsigned char>(c) >= 0x80;
}

// A symbol is one of + - * / ( ) = . ^, a digit, kFraction, or another byte as it stands; 0 at the end.
struct Symbol {
  char c = 0;
  size_t size = 0;
};

constexpr char kFraction = 'f';  // no letter is a symbol of its own

struct Spelling {
  std::string_view text;
  char c;
};

constexpr auto kSpellings =
    std::to_array<Spelling>({{"×", '*'}, {"·", '*'}, {"÷", '/'}, {"−", '-'}, {"⋅", '*'}});

// Macros end where the letters do: \timesx is another one.
constexpr auto kMacros = std::to_array<Spelling>({{"\\times", '*'},
                                                  {"\\cdot", '*'},
                                                  {"\\ast", '*'},
                                                  {"\\div", '/'},
                                                  {"\\frac", kFraction},
                                                  {"\\dfrac", kFraction},
                                                  {"\\tfrac", kFraction},
                                                  {"\\cfrac", kFraction}});
constexpr auto kBlankMacros = std::to_array<std::string_view>({"\\left", "\\right", "\\quad"});

bool is_macro(std::string_view text, std::string_view macro) {
  return text.starts_with(macro) && (text.size() == macro.size() || !is_letter(text[macro.size()]));
}

Symbol symbol_at(std::string_view text, size_t at) {
  if (at >= text.size()) return {};
  const std::string_view rest = text.substr(at);
  const char c = rest[0];
  if (c == '\\') {
    for (const Spelling& macro : kMacros) {
      if (is_macro(rest, macro.text)) return {macro.c, macro.text.size()};
    }
  } else if (static_cast<unsigned char>(c) >= 0x80) {
    for (const Spelling& spelling : kSpellings) {
      if (rest.starts_with(spelling.text)) return {spelling.c, spelling.text.size()};
    }
  }
  // A NUL is a character like any other, not the end. So is the letter that stands for a fraction.
  return {c == '\0' || c == kFraction ? '\x01' : c, 1};
}

// Bytes of white space at the front of `text`, LaTeX's included; 0: there is none.
size_t blank_at(std::string_view text) {
  if (text.empty()) return 0;
  if (is_blank(text[0])) return 1;
  if (text[0] != '\\' || text.size() < 2) return 0;
  if (text[1] == ',' || text[1] == ';' || text[1] == ':' || text[1] == '!' || text[1] == ' ') return 2;
  for (const std::string_view macro : kBlankMacros) {
    if (!is_macro(text, macro)) continue;
    const std::string_view next = text.substr(macro.size());
    const bool parenthesis = next.starts_with('(') || next.starts_with(')');
    return macro == "\\quad" || parenthesis ? macro.size() : 0;
  }
  return 0;
}

// Recursive descent. After the first refusal every function returns at once with some value.
class Parser {
 public:
  Parser(std::string_view text, Decimals decimals) : text_(text), decimals_(decimals) {}

  Evaluated run() {
    if (text_.size() > kMaxExpressionBytes) {
      refuse("too_long");
      return out_;
    }
    skip_space();
    if (at_ == text_.size()) {
      refuse("empty");
      return out_;
    }
    const Rational value = sum();
    if (out_.ok() && at_ < text_.size()) refuse_after_operand();
    if (out_.ok()) out_.value = value;
    return out_;
  }

 private:
  Rational sum() {
    Rational left = product(true);
    while (out_.ok() && (peek() == '+' || peek() == '-')) {
      const char op = take();
      left = apply(op, left, product(false));
    }
    return left;
  }

  // `sign`: one may stand in front, because none stands before.
  Rational product(bool sign) {
    Rational left = factor(sign);
    while (out_.ok() && (peek() == '*' || peek() == '/')) {
      // ** and // are one symbol each in the languages that have them: no blank between.
      const std::string_view pair = text_.substr(at_, 2);
      if (pair == "**") return refuse("power");
      if (pair == "//") return refuse("floor_division");
      const char op = take();
      left = apply(op, left, factor(true));
    }
    return left;
  }

  Rational factor(bool sign) {
    if (!out_.ok()) return {};
    const char c = peek();
    if (c == '+' || c == '-') {
      if (!sign) return refuse("unary_sign");
      take();
      Rational value = factor(false);
      if (c == '-') value.num = -value.num;
      return value;
    }
    if (c == '(') return group(')');
    if (c == kFraction) return fraction();
    if (is_digit(c)) return number();
    if (c == '.') return decimals_ == Decimals::read ? number() : refuse("decimal");
    if (c == '\0' || c == ')' || c == '*' || c == '/' || c == '=' || c == '^')
      return refuse("missing_operand");
    return refuse("unknown_character");
  }

  // An expression between the bracket that is next and `close`.
  Rational group(char close) {
    if (++depth_ > kMaxExpressionDepth) return refuse("too_deep");
    take();
    const Rational inner = sum();
    if (!out_.ok()) return {};
    if (peek() != close) {
      if (at_ == text_.size()) return refuse("unbalanced");
      return refuse_after_operand();
    }
    take();
    --depth_;
    return inner;
  }

  Rational fraction() {
    take();
    const Rational num = argument();
    return apply('/', num, argument());
  }

  Rational argument() {
    if (!out_.ok()) return {};
    const char c = peek();
    if (c == '{') return group('}');
    if (!is_digit(c)) return refuse("bad_fraction");
    take();
    out_.numbers.push_back(c - '0');
    return {.num = c - '0', .den = 1};
  }

  // The digits at at_ onto `value`; false if that passes 63 bits.
  bool take_digits(int64_t& value) {
    for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
      const int digit = text_[at_] - '0';
      if (value > (std::numeric_limits<int64_t>::max() - digit) / 10) return false;
      value = value * 10 + digit;
    }
    return true;
  }

  // Bytes of a separator of thousands at at_, which three digits and no fourth follow; 0: there is none.
  size_t separator() const {
    const std::string_view rest = text_.substr(at_);
    const size_t size = rest.starts_with(',') ? 1 : rest.starts_with("{,}") ? 3 : 0;
    if (size == 0) return 0;
    size_t digits = 0;
    while (size + digits < rest.size() && is_digit(rest[size + digits])) ++digits;
    return digits == 3 ? size : 0;
  }

  Rational number() {
    const size_t begin = at_;
    const auto too_large = [&] {
      at_ = begin;
      return refuse("number_too_large");
    };
    int64_t value = 0;
    if (!take_digits(value)) return too_large();
    if (at_ - begin >= 1 && at_ - begin <= 3 && text_[begin] != '0') {
      for (size_t size = separator(); size != 0; size = separator()) {
        at_ += size;
        if (!take_digits(value)) return too_large();
      }
    }
    out_.numbers.push_back(value);
    int64_t scale = 1;
    if (at_ < text_.size() && text_[at_] == '.') {
      if (decimals_ == Decimals::refuse) return refuse("decimal");
      const size_t digits = ++at_;
      const bool whole = digits - 1 > begin;
      if (!take_digits(value)) return too_large();
      if (!whole && at_ == digits) return refuse("missing_operand");
      for (size_t i = digits; i < at_; ++i) {
        if (scale > std::numeric_limits<int64_t>::max() / 10) return too_large();
        scale *= 10;
      }
    }
    skip_space();
    return apply('/', {.num = value, .den = 1}, {.num = scale, .den = 1});
  }

  Rational apply(char op, const Rational& left, const Rational& right) {
    if (!out_.ok()) return {};
    if (op == '/' && right.num == 0) return refuse("division_by_zero");
    const std::optional<Rational> result = apply_operator(op, left, right);
    if (!result) return refuse("overflow");
    return *result;
  }

  // An operand is complete, something that is no operator follows.
  Rational refuse_after_operand() {
    const char c = peek();
    if (c == ')' || c == '}') return refuse("unbalanced");
    if (c == '=') return refuse("equals_sign");
    if (c == '^') return refuse("power");
    if (c == '.') return refuse("decimal");
    if (c == '(' || c == kFraction || is_digit(c)) return refuse("missing_operator");
    const bool word = at_ < text_.size() && is_word_byte(text_[at_]);
    return refuse(depth_ == 0 && word ? "trailing_text" : "unknown_character");
  }

  Rational refuse(std::string_view why) {
    if (out_.ok()) {
      out_.why = why;
      out_.where = at_;
    }
    return {};
  }

  char peek() const { return symbol_at(text_, at_).c; }

  char take() {
    const Symbol symbol = symbol_at(text_, at_);
    at_ += symbol.size;
    skip_space();
    return symbol.c;
  }

  void skip_space() {
    while (const size_t size = blank_at(text_.substr(std::min(at_, text_.size())))) at_ += size;
  }

  std::string_view text_;
  Decimals decimals_;
  size_t at_ = 0;
  int depth_ = 0;
  Evaluated out_;
};

}  // namespace

Evaluated evaluate_expression(std::string_view text, Decimals decimals) {
  return Parser(text, decimals).run();
}

}  // namespace r1
