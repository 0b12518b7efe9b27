// text/jinja/parser.h: turns tokens into a tree. Precedence is Jinja's, which is not quite Python's: a filter
// binds to the unary expression before it, and ~ binds tighter than + and -.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace r1::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Block parse_all();

 private:
  // Statements: parser.cc
  Block block(std::initializer_list<std::string_view> ends);
  std::unique_ptr<Stmt> statement();
  std::unique_ptr<Stmt> make(Stmt::Kind kind) const;
  void end_tag();
  std::unique_ptr<Stmt> if_statement();
  std::unique_ptr<Stmt> for_statement();
  std::unique_ptr<Stmt> set_statement();
  std::unique_ptr<Stmt> macro_statement();
  std::unique_ptr<Stmt> call_statement();
  std::unique_ptr<Stmt> filter_statement();
  std::unique_ptr<Stmt> with_statement();
  std::unique_ptr<Stmt> generation_statement();
  std::vector<Parameter> parameters();
  Target target();

  // Expressions: parser_expression.cc
  ExprPtr expression(bool with_conditional = true);
  ExprPtr tuple(bool with_conditional = true);
  ExprPtr conditional();
  ExprPtr logic_or();
  ExprPtr logic_and();
  ExprPtr logic_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr list_literal();
  ExprPtr dict_literal();
  ExprPtr postfix(ExprPtr expr);
  ExprPtr filters(ExprPtr expr);
  ExprPtr one_filter(ExprPtr expr);
  ExprPtr test(ExprPtr expr);
  ExprPtr subscript(ExprPtr expr);
  void call_arguments(Expr& call);
  ExprPtr make(Expr::Kind kind, ExprPtr first = nullptr, ExprPtr second = nullptr) const;
  void add(Expr& parent, ExprPtr child) const;
  void add_named(Expr& call, std::string name, ExprPtr value) const;

  // Tokens
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is_sign(std::string_view sign) const { return now().kind == Token::Kind::sign && now().text == sign; }
  bool is_name(std::string_view name) const { return now().kind == Token::Kind::name && now().text == name; }
  bool take_sign(std::string_view sign);
  bool take_name(std::string_view name);
  void want_sign(std::string_view sign);
  void want_name(std::string_view name);
  std::string want_any_name();
  [[noreturn]] void fail(const std::string& reason) const;
  std::string shown_token() const;

  // Counts nesting during descent.
  class Nested {
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  bool saw_varargs_ = false;  // in the macro that is being read
  bool saw_kwargs_ = false;
};

}  // namespace r1::jinja
