#include "reward/expression.h"

#include <limits>
#include <optional>

#include "base/ascii.h"

namespace r1 {
namespace {

bool is_word_byte(char c) {
  return is_letter(c) || static_cast<unsigned char>(c) >= 0x80;
}

// A symbol is one of + - * / ( ) = . ^, a digit, or another byte as it stands; 0 at the end.
struct Symbol {
  char c = 0;
  size_t size = 0;
};

Symbol symbol_at(std::string_view text, size_t at) {
  if (at >= text.size()) return {};
  const std::string_view rest = text.substr(at);
  if (rest.starts_with("×") || rest.starts_with("·")) return {'*', 2};
  if (rest.starts_with("÷")) return {'/', 2};
  if (rest.starts_with("−")) return {'-', 3};
  if (rest.starts_with("⋅")) return {'*', 3};
  // A NUL is a character like any other, not the end.
  return {rest[0] == '\0' ? '\x01' : rest[0], 1};
}

// Recursive descent. After the first refusal every function returns at once with some value.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

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
    Rational left = product();
    while (out_.ok() && (peek() == '+' || peek() == '-')) {
      const char op = take();
      left = apply(op, left, product());
    }
    return left;
  }

  Rational product() {
    Rational left = factor();
    while (out_.ok() && (peek() == '*' || peek() == '/')) {
      // ** and // are one symbol each in the languages that have them: no blank between.
      const std::string_view pair = text_.substr(at_, 2);
      if (pair == "**") return refuse("power");
      if (pair == "//") return refuse("floor_division");
      const char op = take();
      left = apply(op, left, factor());
    }
    return left;
  }

  Rational factor() {
    if (!out_.ok()) return {};
    const char c = peek();
    if (c == '(') {
      if (++depth_ > kMaxExpressionDepth) return refuse("too_deep");
      take();
      const Rational inner = sum();
      if (!out_.ok()) return {};
      if (peek() != ')') {
        if (at_ == text_.size()) return refuse("unbalanced");
        return refuse_after_operand();
      }
      take();
      --depth_;
      return inner;
    }
    if (is_digit(c)) return integer();
    if (c == '.') return refuse("decimal");
    if (c == '+' || c == '-') return refuse("unary_sign");
    if (c == '\0' || c == ')' || c == '*' || c == '/' || c == '=' || c == '^')
      return refuse("missing_operand");
    return refuse("unknown_character");
  }

  Rational integer() {
    const size_t begin = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
      const int digit = text_[at_] - '0';
      if (value > (std::numeric_limits<int64_t>::max() - digit) / 10) {
        at_ = begin;
        return refuse("number_too_large");
      }
      value = value * 10 + digit;
    }
    if (text_[begin] == '0' && at_ > begin + 1) {
      at_ = begin;
      return refuse("leading_zero");
    }
    if (at_ < text_.size() && text_[at_] == '.') return refuse("decimal");
    out_.numbers.push_back(value);
    skip_space();
    return {.num = value, .den = 1};
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
    if (c == ')') return refuse("unbalanced");
    if (c == '=') return refuse("equals_sign");
    if (c == '^') return refuse("power");
    if (c == '.') return refuse("decimal");
    if (c == '(' || is_digit(c)) return refuse("missing_operator");
    return refuse(depth_ == 0 && is_word_byte(c) ? "trailing_text" : "unknown_character");
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
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  Evaluated out_;
};

}  // namespace

Evaluated evaluate_expression(std::string_view text) {
  return Parser(text).run();
}

}  // namespace r1
