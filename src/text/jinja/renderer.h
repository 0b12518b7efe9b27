// text/jinja/renderer.h: runs a parsed template.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/operations.h"
#include "text/jinja/work.h"

namespace r1::jinja {

class Renderer {
 public:
  // `now` is local time for strftime_now, in seconds since 1970-01-01.
  Renderer(std::vector<std::pair<std::string, Value>> variables, int64_t now,
           size_t max_steps = Work::kMaxSteps);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  // Throws TemplateError that has the line.
  std::string run(const Block& block);

 private:
  enum class Flow { normal, loop_break, loop_continue };
  struct Scope {
    std::vector<std::pair<std::string, Value>> variables;
    size_t parent = 0;
  };
  class Inner;  // a scope, while this object lives
  class NoLoop;
  class Capture;  // redirects output to its own string, while this object lives

  // Statements: renderer.cc
  Flow execute(const Block& block);
  Flow execute(const Stmt& stmt);
  Flow run_branch(const Stmt& stmt);
  Flow run_loop(const Stmt& stmt, const Value& sequence, int depth);
  Value run_loop_again(const Loop& loop, const Arguments& arguments);
  void run_set(const Stmt& stmt);
  void store(const Stmt& stmt, Value value);
  void run_call_block(const Stmt& stmt);
  Value call_macro(const Function& function, const Arguments& arguments);
  void assign(const Target& target, const Value& value);
  void bind_parameters(const Macro& macro, const Arguments& given);
  void set_variable(const std::string& name, Value value);
  Value* find_variable(const std::string& name);
  void print(std::string_view text);
  std::string captured(const Block& block);

  // Expressions: renderer_expression.cc
  Value evaluate(const Expr& expr);
  Value evaluate_inner(const Expr& expr);
  Value literal(const Expr& expr);
  Value compare_chain(const Expr& expr);
  Value concatenate(const Expr& expr);
  Value slice(const Expr& expr);
  Value filter_chain(const Expr& expr, const Value& input);  // of a block; the first filter takes `input`
  bool test(const Expr& expr);
  Arguments arguments(const Expr& expr);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_global(const std::string& name, const Arguments& arguments);
  Value call_range(const Arguments& arguments);

  Work work_;
  int64_t now_;
  std::vector<Scope> scopes_;
  size_t scope_ = 0;  // the current one
  std::string* out_ = nullptr;
  int loop_depth_ = 0;
  // Namespaces may hold each other, so they are emptied at the end, one after the other.
  std::vector<std::shared_ptr<Dict>> namespaces_;
};

// Python's strftime of a date without a time zone, in the C locale; throws TemplateError for a format that is
// too long.
std::string format_time(const std::string& format, int64_t seconds);

}  // namespace r1::jinja
