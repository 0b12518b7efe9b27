#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "text/jinja/parser.h"

namespace r1::jinja {

void Parser::add(Expr& parent, ExprPtr child) const {
  if (child) parent.depth = std::max(parent.depth, child->depth + 1);
  if (parent.depth > kMaxTreeDepth) fail("an expression is too long");
  parent.args.push_back(std::move(child));
}

void Parser::add_named(Expr& call, std::string name, ExprPtr value) const {
  call.depth = std::max(call.depth, value->depth + 1);
  if (call.depth > kMaxTreeDepth) fail("an expression is too long");
  call.kwargs.emplace_back(std::move(name), std::move(value));
}

ExprPtr Parser::make(Expr::Kind kind, ExprPtr first, ExprPtr second) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = now().line;
  if (first) add(*expr, std::move(first));
  if (second) add(*expr, std::move(second));
  return expr;
}

ExprPtr Parser::expression(bool with_conditional) {
  const Nested nested(*this);
  return with_conditional ? conditional() : logic_or();
}

// Reads an expression, or a tuple of several separated by commas.
ExprPtr Parser::tuple(bool with_conditional) {
  ExprPtr first = expression(with_conditional);
  if (!is_sign(",")) return first;
  ExprPtr out = make(Expr::Kind::tuple, std::move(first));
  while (take_sign(",")) {
    if (now().kind == Token::Kind::output_end || now().kind == Token::Kind::statement_end || is_sign(")"))
      break;
    add(*out, expression(with_conditional));
  }
  return out;
}

ExprPtr Parser::conditional() {
  ExprPtr value = logic_or();
  while (is_name("if")) {
    ExprPtr out = make(Expr::Kind::conditional);
    ++at_;
    add(*out, logic_or());
    add(*out, std::move(value));
    const Nested nested(*this);
    add(*out, take_name("else") ? conditional() : nullptr);
    value = std::move(out);
  }
  return value;
}

ExprPtr Parser::logic_or() {
  ExprPtr left = logic_and();
  while (take_name("or")) {
    ExprPtr right = logic_and();
    left = make(Expr::Kind::logic, std::move(left), std::move(right));
    left->name = "or";
  }
  return left;
}

ExprPtr Parser::logic_and() {
  ExprPtr left = logic_not();
  while (take_name("and")) {
    ExprPtr right = logic_not();
    left = make(Expr::Kind::logic, std::move(left), std::move(right));
    left->name = "and";
  }
  return left;
}

ExprPtr Parser::logic_not() {
  if (!take_name("not")) return comparison();
  const Nested nested(*this);
  return make(Expr::Kind::negate, logic_not());
}

ExprPtr Parser::comparison() {
  ExprPtr left = sum();
  ExprPtr out;
  while (true) {
    std::string op;
    for (const std::string_view sign : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (take_sign(sign)) {
        op = sign;
        break;
      }
    }
    if (op.empty() && take_name("in")) op = "in";
    if (op.empty() && is_name("not") && ahead().kind == Token::Kind::name && ahead().text == "in") {
      at_ += 2;
      op = "not in";
    }
    if (op.empty()) return out ? std::move(out) : std::move(left);
    if (!out) out = make(Expr::Kind::compare, std::move(left));
    out->ops.push_back(op);
    add(*out, sum());
  }
}

ExprPtr Parser::sum() {
  ExprPtr left = concatenation();
  while (is_sign("+") || is_sign("-")) {
    const std::string op = tokens_[at_++].text;
    ExprPtr right = concatenation();
    left = make(Expr::Kind::binary, std::move(left), std::move(right));
    left->name = op;
  }
  return left;
}

ExprPtr Parser::concatenation() {
  ExprPtr first = product();
  if (!is_sign("~")) return first;
  ExprPtr out = make(Expr::Kind::concat, std::move(first));
  while (take_sign("~")) add(*out, product());
  return out;
}

ExprPtr Parser::product() {
  ExprPtr left = power();
  while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
    const std::string op = tokens_[at_++].text;
    ExprPtr right = power();
    left = make(Expr::Kind::binary, std::move(left), std::move(right));
    left->name = op;
  }
  return left;
}

ExprPtr Parser::power() {
  ExprPtr left = unary();
  while (take_sign("**")) {
    ExprPtr right = unary();
    left = make(Expr::Kind::binary, std::move(left), std::move(right));
    left->name = "**";
  }
  return left;
}

ExprPtr Parser::unary(bool with_filters) {
  ExprPtr expr;
  if (is_sign("-") || is_sign("+")) {
    const Nested nested(*this);
    const std::string op = tokens_[at_++].text;
    expr = make(Expr::Kind::unary, unary(false));
    expr->name = op;
  } else {
    expr = primary();
  }
  expr = postfix(std::move(expr));
  return with_filters ? filters(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::primary() {
  ExprPtr out = make(Expr::Kind::constant);
  const Token& token = now();
  switch (token.kind) {
    case Token::Kind::name:
      if (token.text == "true" || token.text == "True") {
        out->value = Value::of(true);
      } else if (token.text == "false" || token.text == "False") {
        out->value = Value::of(false);
      } else if (token.text == "none" || token.text == "None") {
        out->value = Value::none();
      } else {
        out->kind = Expr::Kind::name;
        out->name = token.text;
        saw_varargs_ = saw_varargs_ || token.text == "varargs";
        saw_kwargs_ = saw_kwargs_ || token.text == "kwargs";
      }
      ++at_;
      return out;
    case Token::Kind::string: {
      std::string text;  // adjacent strings are joined
      while (now().kind == Token::Kind::string) text += tokens_[at_++].text;
      out->value = Value::of(std::move(text));
      return out;
    }
    case Token::Kind::integer: {
      out->value = Value::integer(token.text);
      ++at_;
      return out;
    }
    case Token::Kind::number: {
      double number = 0;
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), number);
      out->value = Value::of(number);
      ++at_;
      return out;
    }
    default:
      break;
  }
  if (is_sign("[")) return list_literal();
  if (is_sign("{")) return dict_literal();
  if (!take_sign("(")) fail(fmt::format("an expression is expected, not {}", shown_token()));
  if (take_sign(")")) return make(Expr::Kind::tuple);
  ExprPtr inner = tuple();
  want_sign(")");
  return inner;
}

ExprPtr Parser::list_literal() {
  ExprPtr out = make(Expr::Kind::list);
  want_sign("[");
  while (!is_sign("]")) {
    if (!out->args.empty()) want_sign(",");
    if (is_sign("]")) break;
    add(*out, expression());
  }
  want_sign("]");
  return out;
}

ExprPtr Parser::dict_literal() {
  ExprPtr out = make(Expr::Kind::dict);
  want_sign("{");
  while (!is_sign("}")) {
    if (!out->args.empty()) want_sign(",");
    if (is_sign("}")) break;
    add(*out, expression());
    want_sign(":");
    add(*out, expression());
  }
  want_sign("}");
  return out;
}

ExprPtr Parser::postfix(ExprPtr expr) {
  while (true) {
    if (take_sign(".")) {
      ExprPtr out = make(Expr::Kind::attribute, std::move(expr));
      if (now().kind == Token::Kind::integer) {  // a.0 is a[0]
        out->kind = Expr::Kind::item;
        add(*out, primary());
      } else {
        out->name = want_any_name();
      }
      expr = std::move(out);
    } else if (is_sign("[")) {
      expr = subscript(std::move(expr));
    } else if (is_sign("(")) {
      expr = make(Expr::Kind::call, std::move(expr));
      call_arguments(*expr);
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::subscript(ExprPtr expr) {
  want_sign("[");
  ExprPtr parts[3];
  int colons = 0;
  while (!is_sign("]")) {
    if (take_sign(":")) {
      if (++colons > 2) fail("a slice has at most two colons");
    } else if (parts[colons]) {
      fail(fmt::format("] is expected, not {}", shown_token()));
    } else {
      parts[colons] = expression();
    }
  }
  want_sign("]");
  ExprPtr out = make(colons == 0 ? Expr::Kind::item : Expr::Kind::slice, std::move(expr));
  if (colons == 0) {
    if (!parts[0]) fail("an index is expected");
    add(*out, std::move(parts[0]));
    return out;
  }
  for (ExprPtr& part : parts) add(*out, std::move(part));
  return out;
}

void Parser::call_arguments(Expr& call) {
  want_sign("(");
  bool first = true;
  while (!is_sign(")")) {
    if (!first) want_sign(",");
    first = false;
    if (is_sign(")")) break;
    if (take_sign("*")) {
      add(call, make(Expr::Kind::spread, expression()));
    } else if (take_sign("**")) {
      add_named(call, "", expression());
    } else if (now().kind == Token::Kind::name && ahead().kind == Token::Kind::sign && ahead().text == "=") {
      std::string name = want_any_name();
      want_sign("=");
      add_named(call, std::move(name), expression());
    } else {
      if (!call.kwargs.empty()) fail("a positional argument follows a named one");
      add(call, expression());
    }
  }
  want_sign(")");
}

ExprPtr Parser::filters(ExprPtr expr) {
  while (true) {
    if (is_sign("|")) {
      expr = one_filter(std::move(expr));
    } else if (take_name("is")) {
      expr = test(std::move(expr));
    } else if (is_sign("(")) {
      expr = make(Expr::Kind::call, std::move(expr));
      call_arguments(*expr);
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::one_filter(ExprPtr expr) {
  ++at_;  // skips the |
  ExprPtr out = make(Expr::Kind::filter);
  add(*out, std::move(expr));
  out->name = want_any_name();
  while (take_sign(".")) out->name += "." + want_any_name();
  if (is_sign("(")) call_arguments(*out);
  return out;
}

ExprPtr Parser::test(ExprPtr expr) {
  const bool negated = take_name("not");
  ExprPtr out = make(Expr::Kind::test, std::move(expr));
  out->name = want_any_name();
  if (is_sign("(")) {
    call_arguments(*out);
  } else {
    const bool is_word = now().kind == Token::Kind::name && !is_name("else") && !is_name("or") &&
                         !is_name("and") && !is_name("if") && !is_name("is") && !is_name("in") &&
                         !is_name("not");
    const bool is_literal = now().kind == Token::Kind::string || now().kind == Token::Kind::integer ||
                            now().kind == Token::Kind::number || is_sign("[") || is_sign("{");
    if (is_word || is_literal) add(*out, postfix(primary()));
  }
  return negated ? make(Expr::Kind::negate, std::move(out)) : std::move(out);
}

}  // namespace r1::jinja
