#include "reward/math/notation.h"

#include <utility>

#include "base/ascii.h"
#include "reward/math/lexer.h"

namespace r1::math {
namespace {

using Kind = Node::Kind;

struct NoNotation {};

Node node(Kind kind, std::string name = "") {
  Node out;
  out.kind = kind;
  out.name = std::move(name);
  return out;
}
Node node(Kind kind, Node a) {
  Node out = node(kind);
  out.kids.push_back(std::move(a));
  return out;
}
Node node(Kind kind, Node a, Node b) {
  Node out = node(kind, std::move(a));
  out.kids.push_back(std::move(b));
  return out;
}
Node number(Fraction value) {
  Node out = node(Kind::number);
  out.number = std::move(value);
  return out;
}

char relation_code(const Token& token) {
  if (token.kind != Token::Kind::sign) return 0;
  if (token.text == "=" || token.text == "<" || token.text == ">" || token.text == "~") return token.text[0];
  if (token.text == "<=") return 'L';
  if (token.text == ">=") return 'G';
  if (token.text == "!=") return 'N';
  return token.text == "in" ? 'i' : 0;
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
    Token end;
    end.text = "end";
    tokens_.push_back(std::move(end));
  }

  Node run() {
    skip_currency_delimiters();
    Node out = list();
    if (!peek().is("end")) throw NoNotation{};
    return out;
  }

 private:
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool take_if(std::string_view sign) {
    if (!peek().is(sign)) return false;
    ++at_;
    return true;
  }
  void want(std::string_view sign) {
    if (!take_if(sign)) throw NoNotation{};
  }

  // A $ beside a number is a currency sign. Elsewhere it delimits a formula and is dropped.
  void skip_currency_delimiters() {
    std::vector<Token> kept;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!tokens_[i].is("$")) {
        kept.push_back(std::move(tokens_[i]));
        continue;
      }
      const bool before = i + 1 < tokens_.size() && tokens_[i + 1].kind == Token::Kind::number;
      const bool behind = !kept.empty() && kept.back().kind == Token::Kind::number;
      currency_ |= before || behind;
    }
    tokens_ = std::move(kept);
  }

  struct Depth {
    explicit Depth(int& depth) : depth_(depth) {
      if (++depth_ > kMaxNotationDepth) throw NoNotation{};
    }
    ~Depth() { --depth_; }
    int& depth_;
  };

  bool at_end_of_list() const {
    for (const std::string_view close : {"end", ")", "]", "}", "}set", "&", "newline", "endmatrix"}) {
      if (peek().is(close)) return true;
    }
    return false;
  }

  bool take_separator() {
    bool any = false;
    while (peek().is(",") || peek().is(";") || peek().is("and") || peek().is("or")) {
      semicolon_ |= peek().is(";");
      ++at_;
      any = true;
    }
    return any;
  }

  // Returns a list, or its only element.
  Node list() {
    const Depth guard(depth_);
    Node out = node(Kind::list);
    out.kids.push_back(relation());
    while (take_separator() && !at_end_of_list()) out.kids.push_back(relation());
    if (out.kids.size() == 1) {
      Node only = std::move(out.kids[0]);
      return only;
    }
    return out;
  }

  Node relation() {
    if (!take_if("~")) take_if("=");
    Node first = ratio();
    char code = relation_code(peek());
    if (code == 0) return first;
    Node out = node(Kind::relation);
    out.kids.push_back(std::move(first));
    for (; code != 0; code = relation_code(peek())) {
      ++at_;
      out.name += code;
      out.kids.push_back(ratio());
    }
    return out;
  }

  Node ratio() {
    Node first = sets();
    if (!peek().is(":")) return first;
    Node out = node(Kind::ratio, std::move(first));
    while (take_if(":")) out.kids.push_back(sets());
    // A text before ":", as in "Note: 3", is prose.
    for (const Node& kid : out.kids) {
      if (kid.kind == Kind::text) throw NoNotation{};
    }
    return out;
  }

  Node sets() {
    Node left = sum();
    while (peek().is("cup") || peek().is("cap")) {
      const Kind kind = peek().is("cup") ? Kind::unite : Kind::intersect;
      ++at_;
      Node right = sum();
      if (left.kind == kind)
        left.kids.push_back(std::move(right));
      else
        left = node(kind, std::move(left), std::move(right));
    }
    return left;
  }

  Node sum() {
    const Depth guard(depth_);
    Node left;
    if (take_if("pm")) {
      left = node(Kind::plus_minus, number(0), product());
    } else if (take_if("-")) {
      left = node(Kind::negate, product());
      std::swap(left.unit, left.kids[0].unit);
    } else {
      take_if("+");
      left = product();
    }
    for (;;) {
      if (take_if("+")) {
        left = add(std::move(left), product());
      } else if (take_if("-")) {
        Node right = product();
        std::string unit = std::exchange(right.unit, "");
        left = add(std::move(left), node(Kind::negate, std::move(right)));
        if (!unit.empty()) left.unit = std::move(unit);
      } else if (take_if("pm")) {
        left = node(Kind::plus_minus, std::move(left), product());
      } else {
        left.currency = currency_;
        return left;
      }
    }
  }

  static Node add(Node left, Node right) {
    std::string unit = right.unit.empty() ? std::exchange(left.unit, "") : std::exchange(right.unit, "");
    if (left.kind != Kind::add) left = node(Kind::add, std::move(left));
    left.kids.push_back(std::move(right));
    left.unit = std::move(unit);
    return left;
  }

  bool starts_factor() const {
    const Token& t = peek();
    if (t.kind != Token::Kind::sign) return true;
    for (const std::string_view sign :
         {"(", "[", "{", "set{", "frac", "sqrt", "binom", "inf", "empty", "matrix"}) {
      if (t.is(sign)) return true;
    }
    return t.is("|") && bars_ == 0;
  }

  Node product() {
    Node left = signed_factor();
    for (;;) {
      if (take_if("*")) {
        left = times(std::move(left), signed_factor());
      } else if (take_if("/")) {
        left = node(Kind::divide, std::move(left), signed_factor());
      } else if (peek().kind == Token::Kind::text && left.kind != Kind::text) {
        take_unit(left);
        return left;
      } else if (starts_factor() && left.kind != Kind::text) {
        if (peek().kind == Token::Kind::number) {
          left = mixed(std::move(left));
        } else if (left.kind == Kind::number && left.number.is_integer() && is_number_token_ &&
                   peek().is("frac")) {
          Node right = factor();
          const bool fraction = right.kind == Kind::divide && right.kids[0].kind == Kind::number &&
                                right.kids[1].kind == Kind::number && right.kids[0].number.sign() > 0 &&
                                right.kids[0].number < right.kids[1].number;
          left = fraction ? number(left.number + right.kids[0].number / right.kids[1].number)
                          : times(std::move(left), std::move(right));
        } else {
          left = times(std::move(left), factor());
        }
      } else {
        return left;
      }
      is_number_token_ = false;
    }
  }

  // Reads "3 1/2", with a blank between: only here may a number follow a number.
  Node mixed(Node whole) {
    const bool plain = whole.kind == Kind::number && whole.number.is_integer() && is_number_token_ &&
                       peek().blank_before && peek(1).is("/") && peek(2).kind == Token::Kind::number;
    if (!plain) throw NoNotation{};
    const Fraction num = peek().number, den = peek(2).number;
    if (!num.is_integer() || !den.is_integer() || num.sign() <= 0 || num >= den) throw NoNotation{};
    at_ += 3;
    return number(whole.number + num / den);
  }

  static Node times(Node left, Node right) {
    if (left.kind != Kind::multiply) left = node(Kind::multiply, std::move(left));
    left.kids.push_back(std::move(right));
    return left;
  }

  // Reads the words behind a number, including powers of them, up to the end of the element.
  void take_unit(Node& left) {
    while (peek().kind == Token::Kind::text || peek().is("/") || peek().is("^")) {
      if (peek().is("/") || peek().is("^")) {
        const std::string sign = peek().text;
        if (peek(1).kind != Token::Kind::text && peek(1).kind != Token::Kind::number) break;
        ++at_;
        left.unit += sign + peek().text;
      } else {
        if (!left.unit.empty() && !left.unit.ends_with('/')) left.unit += ' ';
        left.unit += peek().text;
      }
      ++at_;
    }
    if (!at_end_of_list() && !peek().is(",") && !peek().is(";") && !peek().is("and") && !peek().is("or") &&
        relation_code(peek()) == 0 && !peek().is("+") && !peek().is("-")) {
      throw NoNotation{};
    }
  }

  Node signed_factor() {
    if (take_if("-")) return node(Kind::negate, factor());
    take_if("+");
    return factor();
  }

  Node factor() {
    const Depth guard(depth_);
    is_number_token_ = peek().kind == Token::Kind::number;
    const std::string digits = is_number_token_ ? peek().text : "";
    Node out = base();
    for (;;) {
      if (take_if("^")) {
        if (peek().is("°") || (peek().is("{") && peek(1).is("°") && peek(2).is("}"))) {
          at_ += peek().is("{") ? 3 : 1;
          out = node(Kind::degree, std::move(out));
        } else {
          out = node(Kind::power, std::move(out), exponent());
        }
      } else if (peek().is("_")) {
        ++at_;
        out = indexed(std::move(out), digits);
      } else if (take_if("!")) {
        out = node(Kind::factorial, std::move(out));
      } else if (take_if("%")) {
        out = node(Kind::percent, std::move(out));
      } else if (take_if("°")) {
        out = node(Kind::degree, std::move(out));
      } else {
        return out;
      }
      is_number_token_ = false;
    }
  }

  // x^2y is x^2 y, and 2^3^4 is 2^(3^4).
  Node exponent() {
    const Depth guard(depth_);
    if (take_if("-")) return node(Kind::negate, exponent());
    take_if("+");
    Node out = single();
    if (!take_if("^")) return out;
    return node(Kind::power, std::move(out), exponent());
  }

  Node indexed(Node base, const std::string& digits) {
    const size_t begin = at_;
    const bool braces = take_if("{");
    if (base.kind == Kind::number && base.number.is_integer() && !digits.empty()) {
      if (peek().kind != Token::Kind::number) throw NoNotation{};
      Node out = node(Kind::base_number, digits);
      out.number = peek().number;
      ++at_;
      if (braces) want("}");
      return out;
    }
    if (base.kind != Kind::symbol) throw NoNotation{};
    base.name += '_';
    if (!braces) {
      base.name += peek().text;
      ++at_;
      return base;
    }
    for (size_t depth = 1; depth > 0 && at_ - begin < 64;) {
      if (peek().is("end")) throw NoNotation{};
      depth += peek().is("{") ? 1 : 0;
      depth -= peek().is("}") ? 1 : 0;
      if (depth > 0) base.name += peek().text;
      ++at_;
    }
    return base;
  }

  Node braced() {
    want("{");
    Node out = list();
    want("}");
    return out;
  }

  // Reads an argument: {...}, or one digit or letter (\frac12 is 1/2).
  Node argument() {
    if (peek().is("{")) return braced();
    Token& token = tokens_[at_];
    if (token.kind == Token::Kind::number) {
      if (token.text.find('.') != std::string::npos) throw NoNotation{};
      const int digit = token.text[0] - '0';
      token.text.erase(0, 1);
      if (token.text.empty())
        ++at_;
      else
        token.number = Integer::from_digits(token.text);
      return number(digit);
    }
    return single();
  }

  Node single() {
    if (peek().is("{")) return braced();
    return base();
  }

  Node base() {
    const Depth guard(depth_);
    const Token token = peek();
    ++at_;
    switch (token.kind) {
      case Token::Kind::number:
        return number(token.number);
      case Token::Kind::symbol:
        return node(Kind::symbol, token.text);
      case Token::Kind::text:
        return words(token);
      case Token::Kind::function:
        return function(token.text);
      case Token::Kind::sign:
        break;
    }
    if (token.is("(") || token.is("[")) return bracketed(token.text[0]);
    if (token.is("{")) {
      --at_;
      return braced();
    }
    if (token.is("set{")) {
      Node out = node(Kind::set);
      if (take_if("}set")) return node(Kind::empty_set);
      Node inside = list();
      want("}set");
      if (inside.kind == Kind::list)
        out.kids = std::move(inside.kids);
      else
        out.kids.push_back(std::move(inside));
      return out;
    }
    if (token.is("frac")) {
      Node num = argument();
      return node(Kind::divide, std::move(num), argument());
    }
    if (token.is("binom")) {
      Node top = argument();
      return node(Kind::binomial, std::move(top), argument());
    }
    if (token.is("sqrt")) {
      Node degree = number(2);
      if (take_if("[")) {
        degree = list();
        want("]");
      }
      Node radicand = argument();
      return node(Kind::root, std::move(radicand), std::move(degree));
    }
    if (token.is("|")) {
      ++bars_;
      Node inside = sum();
      --bars_;
      want("|");
      return node(Kind::absolute, std::move(inside));
    }
    if (token.is("inf")) return node(Kind::infinity);
    if (token.is("empty")) return node(Kind::empty_set);
    if (token.is("matrix")) return matrix();
    throw NoNotation{};
  }

  Node words(const Token& first) {
    Node out = node(Kind::text, first.text);
    while (peek().kind == Token::Kind::text) {
      out.name += ' ' + peek().text;
      ++at_;
    }
    return out;
  }

  Node function(const std::string& name) {
    Node out = node(Kind::function, name);
    std::optional<Node> raised, subscript;
    for (;;) {
      if (peek().is("^")) {
        ++at_;
        raised = exponent();
      } else if (peek().is("_")) {
        ++at_;
        subscript = argument();
      } else {
        break;
      }
    }
    // The argument of sin 2x is the product of the numbers and letters behind sin; that of sin(x) y is in the
    // parentheses.
    Node argument;
    if (peek().is("(") || peek().is("[") || peek().is("{") || peek().is("|")) {
      argument = factor();
    } else {
      if (take_if("-"))
        argument = node(Kind::negate, factor());
      else
        argument = factor();
      while (peek().kind == Token::Kind::symbol || peek().is("frac") || peek().is("sqrt"))
        argument = times(std::move(argument), factor());
    }
    out.kids.push_back(std::move(argument));
    if (subscript) out.kids.push_back(std::move(*subscript));
    if (!raised) return out;
    return node(Kind::power, std::move(out), std::move(*raised));
  }

  Node bracketed(char open) {
    const int bars = std::exchange(bars_, 0);
    Node inside = list();
    bars_ = bars;
    const char close = peek().text.empty() ? 0 : peek().text[0];
    if (!peek().is(")") && !peek().is("]")) throw NoNotation{};
    ++at_;
    const bool matching = (open == '(') == (close == ')');
    if (inside.kind != Kind::list) {
      if (!matching) throw NoNotation{};
      return inside;
    }
    inside.kind = Kind::tuple;
    inside.name = {open, close};
    return inside;
  }

  Node matrix() {
    Node out = node(Kind::matrix);
    size_t columns = 0, in_row = 0;
    for (;;) {
      if (take_if("endmatrix")) break;
      if (take_if("newline")) {
        if (in_row == 0) continue;
        if (columns != 0 && in_row != columns) throw NoNotation{};
        columns = in_row;
        in_row = 0;
        continue;
      }
      if (in_row > 0) want("&");
      out.kids.push_back(list());
      ++in_row;
    }
    if (in_row != 0 && columns != 0 && in_row != columns) throw NoNotation{};
    out.name = std::to_string(columns == 0 ? in_row : columns);
    if (out.kids.empty()) throw NoNotation{};
    return out;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int bars_ = 0;
  bool currency_ = false;
  bool semicolon_ = false;
  bool is_number_token_ = false;  // the last factor read is a single number token
};

}  // namespace

std::optional<Node> parse_notation(std::string_view text) {
  auto tokens = tokens_of(text);
  if (!tokens || tokens->empty()) return std::nullopt;
  try {
    return Parser(std::move(*tokens)).run();
  } catch (const NoNotation&) {
    return std::nullopt;
  }
}

}  // namespace r1::math
