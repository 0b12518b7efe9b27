#include "text/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "formats/shown.h"

namespace r1::jinja {

constexpr int kMaxParserNesting = 100;  // blocks and brackets together; each costs about ten frames

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (parser.nesting_ >= kMaxParserNesting) parser.fail("the template is nested too deeply");
  ++parser.nesting_;
}

void Parser::fail(const std::string& reason) const {
  throw TemplateError(reason, now().line);
}

std::string Parser::shown_token() const {
  switch (now().kind) {
    case Token::Kind::end:
      return "the end of the template";
    case Token::Kind::statement_end:
      return "%}";
    case Token::Kind::output_end:
      return "}}";
    default:
      return shown(now().text);
  }
}

bool Parser::take_sign(std::string_view sign) {
  if (!is_sign(sign)) return false;
  ++at_;
  return true;
}

bool Parser::take_name(std::string_view name) {
  if (!is_name(name)) return false;
  ++at_;
  return true;
}

void Parser::want_sign(std::string_view sign) {
  if (!take_sign(sign)) fail(fmt::format("{} is expected, not {}", sign, shown_token()));
}

void Parser::want_name(std::string_view name) {
  if (!take_name(name)) fail(fmt::format("{} is expected, not {}", name, shown_token()));
}

std::string Parser::want_any_name() {
  if (now().kind != Token::Kind::name) fail(fmt::format("a name is expected, not {}", shown_token()));
  return tokens_[at_++].text;
}

std::unique_ptr<Stmt> Parser::make(Stmt::Kind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = now().line;
  return stmt;
}

Block Parser::parse_all() {
  Block all = block({});
  if (now().kind != Token::Kind::end) fail(fmt::format("unexpected {}", shown_token()));
  return all;
}

// Reads statements up to the end of the template or to a tag that begins with one of `ends`. That tag is left
// unread after its {%.
Block Parser::block(std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  Block out;
  while (now().kind != Token::Kind::end) {
    if (now().kind == Token::Kind::text) {
      out.push_back(make(Stmt::Kind::text));
      out.back()->text = now().text;
      ++at_;
    } else if (now().kind == Token::Kind::output_begin) {
      ++at_;
      auto stmt = make(Stmt::Kind::output);
      stmt->expr = tuple();
      if (now().kind != Token::Kind::output_end) fail(fmt::format("}}}} is expected, not {}", shown_token()));
      ++at_;
      out.push_back(std::move(stmt));
    } else {
      ++at_;  // {%
      if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return is_name(end); }))
        return out;
      out.push_back(statement());
    }
  }
  if (ends.size() > 0) fail(fmt::format("{} is missing", *(ends.end() - 1)));
  return out;
}

void Parser::end_tag() {
  if (now().kind != Token::Kind::statement_end) fail(fmt::format("%}} is expected, not {}", shown_token()));
  ++at_;
}

std::unique_ptr<Stmt> Parser::statement() {
  if (is_name("if")) return if_statement();
  if (is_name("for")) return for_statement();
  if (is_name("set")) return set_statement();
  if (is_name("macro")) return macro_statement();
  if (is_name("call")) return call_statement();
  if (is_name("filter")) return filter_statement();
  if (is_name("with")) return with_statement();
  if (is_name("generation")) return generation_statement();
  if (is_name("break") || is_name("continue")) {
    auto stmt = make(is_name("break") ? Stmt::Kind::loop_break : Stmt::Kind::loop_continue);
    ++at_;
    end_tag();
    return stmt;
  }
  fail(fmt::format("unknown tag {}", shown_token()));
}

std::unique_ptr<Stmt> Parser::if_statement() {
  auto stmt = make(Stmt::Kind::branch);
  want_name("if");
  while (true) {
    ExprPtr condition = tuple(false);
    end_tag();
    stmt->branches.emplace_back(std::move(condition), block({"elif", "else", "endif"}));
    if (!take_name("elif")) break;
  }
  if (take_name("else")) {
    end_tag();
    stmt->branches.emplace_back(nullptr, block({"endif"}));
  }
  want_name("endif");
  end_tag();
  return stmt;
}

// Reads a name, or several separated by commas, with or without brackets.
Target Parser::target() {
  const Nested nested(*this);
  Target all;
  bool is_tuple = false;
  do {
    const bool more = now().kind == Token::Kind::name || is_sign("(");
    if (!all.parts.empty() && !more) break;  // the comma was a trailing one
    Target one;
    if (take_sign("(")) {
      one = target();
      want_sign(")");
    } else {
      one.name = want_any_name();
    }
    all.parts.push_back(std::move(one));
    is_tuple = is_tuple || is_sign(",");
  } while (take_sign(","));
  if (is_tuple) return all;
  Target only = std::move(all.parts.front());
  return only;
}

std::unique_ptr<Stmt> Parser::for_statement() {
  auto stmt = make(Stmt::Kind::loop);
  want_name("for");
  stmt->target = target();
  want_name("in");
  stmt->expr = tuple(false);
  if (take_name("if")) stmt->filter = expression();
  stmt->recursive = take_name("recursive");
  end_tag();
  stmt->body = block({"else", "endfor"});
  if (take_name("else")) {
    end_tag();
    stmt->otherwise = block({"endfor"});
  }
  want_name("endfor");
  end_tag();
  return stmt;
}

std::unique_ptr<Stmt> Parser::set_statement() {
  auto stmt = make(Stmt::Kind::set);
  want_name("set");
  stmt->target = target();
  if (stmt->target.parts.empty() && take_sign(".")) stmt->attribute = want_any_name();
  if (take_sign("=")) {
    stmt->expr = tuple();
    end_tag();
    return stmt;
  }
  stmt->kind = Stmt::Kind::set_block;
  if (!stmt->target.parts.empty()) fail("a set block has one name");
  while (is_sign("|")) stmt->expr = one_filter(std::move(stmt->expr));
  end_tag();
  stmt->body = block({"endset"});
  want_name("endset");
  end_tag();
  return stmt;
}

std::vector<Parameter> Parser::parameters() {
  std::vector<Parameter> out;
  want_sign("(");
  while (!is_sign(")")) {
    if (!out.empty()) want_sign(",");
    if (is_sign(")")) break;
    Parameter parameter{want_any_name(), nullptr};
    if (take_sign("=")) parameter.fallback = expression();
    out.push_back(std::move(parameter));
  }
  want_sign(")");
  return out;
}

std::unique_ptr<Stmt> Parser::macro_statement() {
  auto stmt = make(Stmt::Kind::macro);
  want_name("macro");
  stmt->macro.name = want_any_name();
  stmt->macro.parameters = parameters();
  end_tag();
  const bool outer_varargs = std::exchange(saw_varargs_, false);
  const bool outer_kwargs = std::exchange(saw_kwargs_, false);
  stmt->macro.body = block({"endmacro"});
  stmt->macro.takes_varargs = saw_varargs_;
  stmt->macro.takes_kwargs = saw_kwargs_;
  saw_varargs_ = saw_varargs_ || outer_varargs;
  saw_kwargs_ = saw_kwargs_ || outer_kwargs;
  want_name("endmacro");
  if (now().kind == Token::Kind::name) ++at_;  // the name may be repeated
  end_tag();
  return stmt;
}

std::unique_ptr<Stmt> Parser::call_statement() {
  auto stmt = make(Stmt::Kind::call_block);
  want_name("call");
  stmt->macro.name = "caller";
  if (is_sign("(")) stmt->macro.parameters = parameters();
  stmt->expr = expression();
  if (stmt->expr->kind != Expr::Kind::call) fail("a call block calls something");
  end_tag();
  stmt->macro.body = block({"endcall"});
  want_name("endcall");
  end_tag();
  return stmt;
}

std::unique_ptr<Stmt> Parser::filter_statement() {
  auto stmt = make(Stmt::Kind::filter_block);
  want_name("filter");
  --at_;  // one_filter skips the token before the name: | elsewhere, `filter` here
  stmt->expr = one_filter(nullptr);
  while (is_sign("|")) stmt->expr = one_filter(std::move(stmt->expr));
  end_tag();
  stmt->body = block({"endfilter"});
  want_name("endfilter");
  end_tag();
  return stmt;
}

std::unique_ptr<Stmt> Parser::with_statement() {
  auto stmt = make(Stmt::Kind::with);
  want_name("with");
  while (now().kind == Token::Kind::name) {
    std::string name = want_any_name();
    want_sign("=");
    stmt->bindings.emplace_back(std::move(name), expression());
    if (!take_sign(",")) break;
  }
  end_tag();
  stmt->body = block({"endwith"});
  want_name("endwith");
  end_tag();
  return stmt;
}

std::unique_ptr<Stmt> Parser::generation_statement() {
  auto stmt = make(Stmt::Kind::generation);
  want_name("generation");
  end_tag();
  stmt->body = block({"endgeneration"});
  want_name("endgeneration");
  end_tag();
  return stmt;
}

Block parse_template(std::string_view source) {
  return Parser(tokenize(source)).parse_all();
}

}  // namespace r1::jinja
