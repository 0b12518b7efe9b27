// text/jinja/ast.h: a parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace r1::jinja {

// Bounds the recursion of the parser, the evaluator and destructors.
inline constexpr int kMaxTreeDepth = 200;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    constant,     // value
    name,         // name
    list,         // args
    tuple,        // args
    dict,         // args: key, value, key, value, ...
    attribute,    // args[0].name
    item,         // args[0][args[1]]
    slice,        // args[0][args[1] : args[2] : args[3]], each but the first may be null
    call,         // args[0](args[1...], kwargs)
    spread,       // *args[0] among a call's arguments; in kwargs an empty name is **
    filter,       // args[0] | name(args[1...], kwargs); in a filter block args[0] is null
    test,         // args[0] is name(args[1...])
    negate,       // not args[0]
    unary,        // name (+ or -) args[0]
    binary,       // args[0] name args[1]
    logic,        // args[0] name (and, or) args[1]
    compare,      // args[0] ops[0] args[1] ops[1] args[2] ...
    concat,       // args[0] ~ args[1] ~ ...
    conditional,  // args[1] if args[0] else args[2] (may be null)
  };
  Kind kind = Kind::constant;
  int line = 0;
  int depth = 1;
  std::string name;
  Value value;
  std::vector<ExprPtr> args;
  std::vector<std::pair<std::string, ExprPtr>> kwargs;
  std::vector<std::string> ops;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

// The target of an assignment: a name, or the parts of a tuple.
struct Target {
  std::string name;
  std::vector<Target> parts;
};

struct Parameter {
  std::string name;
  ExprPtr fallback;  // may be null
};

struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  bool takes_varargs = false;  // the body reads varargs, kwargs: further arguments are no error
  bool takes_kwargs = false;
  Block body;
};

struct Stmt {
  enum class Kind {
    text,          // text
    output,        // expr
    branch,        // if: branches, the else one without a condition
    loop,          // for target in expr if filter (recursive): body; otherwise
    set,           // target (or target.attribute) = expr
    set_block,     // target (or target.attribute) = body, through expr (filters) if any
    macro,         // macro
    call_block,    // expr called with macro as caller
    filter_block,  // body through expr
    with,          // bindings, body
    generation,    // body: marks an assistant's words for training, prints them
    loop_break,
    loop_continue,
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text;
  ExprPtr expr;
  ExprPtr filter;
  Target target;
  std::string attribute;  // of a namespace
  bool recursive = false;
  std::vector<std::pair<ExprPtr, Block>> branches;
  std::vector<std::pair<std::string, ExprPtr>> bindings;
  Block body;
  Block otherwise;
  Macro macro;
};

// Throws TemplateError.
Block parse_template(std::string_view source);

}  // namespace r1::jinja
