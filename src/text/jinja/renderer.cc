#include "text/jinja/renderer.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "formats/shown.h"

namespace r1::jinja {

class Renderer::Inner {
 public:
  Inner(Renderer& renderer, size_t parent) : renderer_(renderer), before_(renderer.scope_) {
    renderer.scopes_.push_back({{}, parent});
    renderer.scope_ = renderer.scopes_.size() - 1;
  }
  ~Inner() {
    renderer_.scopes_.pop_back();
    renderer_.scope_ = before_;
  }
  Inner(const Inner&) = delete;
  Inner& operator=(const Inner&) = delete;

 private:
  Renderer& renderer_;
  size_t before_;
};

class Renderer::Capture {
 public:
  explicit Capture(Renderer& renderer) : renderer_(renderer), before_(renderer.out_) {
    renderer.out_ = &text;
  }
  ~Capture() { renderer_.out_ = before_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  std::string text;

 private:
  Renderer& renderer_;
  std::string* before_;
};

// While it exists, break and continue do not reach the loop around the current body.
class Renderer::NoLoop {
 public:
  explicit NoLoop(Renderer& renderer)
      : renderer_(renderer), before_(std::exchange(renderer.loop_depth_, 0)) {}
  ~NoLoop() { renderer_.loop_depth_ = before_; }
  NoLoop(const NoLoop&) = delete;
  NoLoop& operator=(const NoLoop&) = delete;

 private:
  Renderer& renderer_;
  int before_;
};

Renderer::Renderer(std::vector<std::pair<std::string, Value>> variables, int64_t now, size_t max_steps)
    : work_(max_steps), now_(now) {
  scopes_.push_back({std::move(variables), 0});
}

Renderer::~Renderer() {
  for (const auto& one : namespaces_) one->items.clear();
}

std::string Renderer::run(const Block& block) {
  std::string out;
  out_ = &out;
  execute(block);
  return out;
}

void Renderer::print(std::string_view text) {
  work_.spend_bytes(text.size());
  if (out_->size() + text.size() > Work::kMaxText) throw TemplateError("the text is larger than 8 MiB");
  out_->append(text);
}

std::string Renderer::captured(const Block& block) {
  const Capture capture(*this);
  execute(block);
  return capture.text;
}

Value* Renderer::find_variable(const std::string& name) {
  for (size_t scope = scope_;; scope = scopes_[scope].parent) {
    for (auto& [known, value] : scopes_[scope].variables) {
      if (known == name) return &value;
    }
    work_.spend(scopes_[scope].variables.size() / 8 + 1);
    if (scope == 0) return nullptr;
  }
}

void Renderer::set_variable(const std::string& name, Value value) {
  for (auto& [known, old] : scopes_[scope_].variables) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  work_.spend(scopes_[scope_].variables.size() / 8 + 1);
  scopes_[scope_].variables.emplace_back(name, std::move(value));
}

void Renderer::assign(const Target& target, const Value& value) {
  if (target.parts.empty()) return set_variable(target.name, value);
  if (value.is_undefined()) value.fail_undefined();
  const std::vector<Value> parts = iterate(work_, value);
  if (parts.size() != target.parts.size()) {
    throw TemplateError(
        fmt::format("{} values cannot be unpacked into {} names", parts.size(), target.parts.size()));
  }
  for (size_t i = 0; i < parts.size(); ++i) assign(target.parts[i], parts[i]);
}

Renderer::Flow Renderer::execute(const Block& block) {
  const Work::Deeper deeper(work_);
  for (const auto& stmt : block) {
    try {
      const Flow flow = execute(*stmt);
      if (flow != Flow::normal) return flow;
    } catch (const TemplateError& error) {
      if (error.line() > 0) throw;
      throw TemplateError(error.what(), stmt->line);
    }
  }
  return Flow::normal;
}

Renderer::Flow Renderer::execute(const Stmt& stmt) {
  work_.spend(1);
  switch (stmt.kind) {
    case Stmt::Kind::text:
      print(stmt.text);
      break;
    case Stmt::Kind::output: {
      const Value value = evaluate(*stmt.expr);
      work_.spend(value.extent().weight);
      print(to_text(value));
      break;
    }
    case Stmt::Kind::branch:
      return run_branch(stmt);
    case Stmt::Kind::loop:
      return run_loop(stmt, evaluate(*stmt.expr), 1);
    case Stmt::Kind::set:
      run_set(stmt);
      break;
    case Stmt::Kind::set_block: {
      Value value;
      {
        const Inner inner(*this, scope_);
        value = work_.text(captured(stmt.body));
      }
      if (stmt.expr) value = filter_chain(*stmt.expr, value);
      store(stmt, std::move(value));
      break;
    }
    case Stmt::Kind::macro: {
      auto function = std::make_shared<Function>();
      function->kind = Function::Kind::macro;
      function->name = stmt.macro.name;
      function->macro = &stmt.macro;
      set_variable(stmt.macro.name, Value::of(std::shared_ptr<const Function>(std::move(function))));
      break;
    }
    case Stmt::Kind::call_block:
      run_call_block(stmt);
      break;
    case Stmt::Kind::filter_block: {
      const Inner inner(*this, scope_);
      print(to_text(filter_chain(*stmt.expr, work_.text(captured(stmt.body)))));
      break;
    }
    case Stmt::Kind::with: {
      std::vector<Value> values;
      for (const auto& binding : stmt.bindings) values.push_back(evaluate(*binding.second));
      const Inner inner(*this, scope_);
      for (size_t i = 0; i < values.size(); ++i) set_variable(stmt.bindings[i].first, values[i]);
      return execute(stmt.body);
    }
    case Stmt::Kind::generation: {
      const Inner inner(*this, scope_);
      const NoLoop no_loop(*this);
      print(captured(stmt.body));
      break;
    }
    case Stmt::Kind::loop_break:
    case Stmt::Kind::loop_continue:
      if (loop_depth_ == 0) throw TemplateError("break and continue belong in a loop");
      return stmt.kind == Stmt::Kind::loop_break ? Flow::loop_break : Flow::loop_continue;
  }
  return Flow::normal;
}

Renderer::Flow Renderer::run_branch(const Stmt& stmt) {
  for (const auto& [condition, body] : stmt.branches) {
    if (!condition || evaluate(*condition).truth()) return execute(body);
  }
  return Flow::normal;
}

Renderer::Flow Renderer::run_loop(const Stmt& stmt, const Value& sequence, int depth) {
  std::vector<Value> items = iterate(work_, sequence);
  if (stmt.filter) {
    const Inner inner(*this, scope_);
    std::erase_if(items, [&](const Value& item) {
      assign(stmt.target, item);
      return !evaluate(*stmt.filter).truth();
    });
  }
  if (items.empty()) {
    const Inner inner(*this, scope_);
    return execute(stmt.otherwise);
  }
  struct Ended {  // breaks the cycle of a loop that loop.changed remembers in itself
    std::shared_ptr<Loop> loop = std::make_shared<Loop>();
    int& depth;
    explicit Ended(int& count) : depth(count) { ++depth; }
    ~Ended() {
      --depth;
      loop->last_changed.clear();
    }
  } state(loop_depth_);
  state.loop->list = Value::list(std::move(items)).shared_list();
  state.loop->depth = depth;
  state.loop->recursive = stmt.recursive ? &stmt : nullptr;
  state.loop->scope = scope_;
  for (size_t i = 0; i < state.loop->list->items.size(); ++i) {
    work_.spend(1);
    state.loop->index = i;
    const Inner inner(*this, scope_);
    set_variable("loop", Value::of(state.loop));
    assign(stmt.target, state.loop->list->items[i]);
    if (execute(stmt.body) == Flow::loop_break) break;
  }
  return Flow::normal;
}

// Handles loop(sequence) in a recursive loop.
Value Renderer::run_loop_again(const Loop& loop, const Arguments& given) {
  if (loop.recursive == nullptr) throw TemplateError("loop(...) is called in a loop that is not recursive");
  if (loop.scope >= scopes_.size()) throw TemplateError("loop(...) is called after its loop");
  const Inner inner(*this, loop.scope);
  const Capture capture(*this);
  run_loop(*loop.recursive, given.want(0, "iterable"), loop.depth + 1);
  return work_.text(capture.text);
}

void Renderer::store(const Stmt& stmt, Value value) {
  if (stmt.attribute.empty()) return assign(stmt.target, value);
  const Value* target = find_variable(stmt.target.name);
  if (target == nullptr || !target->is_dict() || !target->dict().is_namespace) {
    throw TemplateError("cannot assign attribute on non-namespace object");
  }
  work_.spend(target->dict().items.size() / 8);
  target->dict().set(Value::of(stmt.attribute), std::move(value));
}

void Renderer::run_set(const Stmt& stmt) {
  store(stmt, evaluate(*stmt.expr));
}

void Renderer::run_call_block(const Stmt& stmt) {
  auto caller = std::make_shared<Function>();
  caller->kind = Function::Kind::caller;
  caller->name = "caller";
  caller->macro = &stmt.macro;
  caller->scope = scope_;
  const Value callee = evaluate(*stmt.expr->args[0]);
  Arguments given = arguments(*stmt.expr);
  given.named.emplace_back("caller", Value::of(std::shared_ptr<const Function>(std::move(caller))));
  print(to_text(call(callee, given)));
}

void Renderer::bind_parameters(const Macro& macro, const Arguments& given) {
  const size_t count = macro.parameters.size();
  if (given.positional.size() > count && !macro.takes_varargs) {
    throw TemplateError(fmt::format("macro '{}' takes not more than {} arguments", shown(macro.name), count));
  }
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = macro.parameters[i];
    const Value* value = given.find(i, parameter.name);
    Value bound = value != nullptr ? *value
                  : parameter.fallback
                      ? evaluate(*parameter.fallback)
                      : Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name));
    set_variable(parameter.name, std::move(bound));
  }
  auto further = std::make_shared<Dict>();
  for (const auto& [name, value] : given.named) {
    const bool known =
        std::any_of(macro.parameters.begin(), macro.parameters.end(),
                    [&, &key = name](const Parameter& parameter) { return parameter.name == key; });
    if (name == "caller") {
      set_variable(name, value);
    } else if (!known && !macro.takes_kwargs) {
      throw TemplateError(fmt::format("macro '{}' takes no argument '{}'", shown(macro.name), shown(name)));
    } else if (!known) {
      further->set(Value::of(name), value);
    }
  }
  if (macro.takes_kwargs) set_variable("kwargs", Value::of(std::move(further)));
  if (macro.takes_varargs) {
    const auto& all = given.positional;
    const auto rest = all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), count));
    set_variable("varargs", Value::list({rest, all.end()}, List::Kind::tuple));
  }
}

Value Renderer::call_macro(const Function& function, const Arguments& given) {
  const Macro& macro = *function.macro;
  const bool is_caller = function.kind == Function::Kind::caller;
  // The body of a caller sees the scope in which it was written, which still exists. A macro sees the
  // template's variables.
  if (is_caller && function.scope >= scopes_.size())
    throw TemplateError("caller is used after its call block");
  const Inner inner(*this, is_caller ? function.scope : 0);
  bind_parameters(macro, given);
  const NoLoop no_loop(*this);
  return work_.text(captured(macro.body));
}

std::string format_time(const std::string& format, int64_t seconds) {
  const auto time = static_cast<time_t>(seconds);
  std::tm parts{};
  if (format.size() > 256 || gmtime_r(&time, &parts) == nullptr)
    throw TemplateError("strftime_now: the format is too long");
  std::string known;  // the format without %f (unknown to C) and without %z and %Z (there is no zone)
  for (size_t at = 0; at < format.size(); ++at) {
    const char next = format[at] == '%' && at + 1 < format.size() ? format[at + 1] : '\0';
    if (next == 'f') known += "000000";
    if (next != 'f' && next != 'z' && next != 'Z') known.append(format, at, next == '\0' ? 1 : 2);
    if (next != '\0') ++at;
  }
  char text[4096];
  const size_t size = std::strftime(text, sizeof text, known.c_str(), &parts);
  return std::string(text, size);
}

}  // namespace r1::jinja
