#include <fmt/format.h>

#include <algorithm>

#include "formats/shown.h"
#include "text/jinja/renderer.h"

namespace r1::jinja {

Value Renderer::evaluate(const Expr& expr) {
  const Work::Deeper deeper(work_);
  work_.spend(1);
  try {
    return evaluate_inner(expr);
  } catch (const TemplateError& error) {
    if (error.line() > 0) throw;
    throw TemplateError(error.what(), expr.line);
  }
}

Value Renderer::evaluate_inner(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::constant:
      return expr.value;
    case Expr::Kind::name: {
      if (const Value* value = find_variable(expr.name)) return *value;
      for (const std::string_view global :
           {"range", "namespace", "dict", "raise_exception", "strftime_now"}) {
        if (expr.name != global) continue;
        auto function = std::make_shared<Function>();
        function->name = expr.name;
        return Value::of(std::shared_ptr<const Function>(std::move(function)));
      }
      return Value::undefined(fmt::format("'{}' is undefined", shown(expr.name)));
    }
    case Expr::Kind::list:
    case Expr::Kind::tuple:
    case Expr::Kind::dict:
      return literal(expr);
    case Expr::Kind::attribute:
      return get_attribute(work_, evaluate(*expr.args[0]), expr.name);
    case Expr::Kind::item: {
      const Value object = evaluate(*expr.args[0]);
      return get_item(work_, object, evaluate(*expr.args[1]));
    }
    case Expr::Kind::slice:
      return slice(expr);
    case Expr::Kind::call: {
      const Value callee = evaluate(*expr.args[0]);
      return call(callee, arguments(expr));
    }
    case Expr::Kind::spread:
      throw TemplateError("* belongs before an argument of a call");
    case Expr::Kind::filter:
      return apply_filter(work_, expr.name, evaluate(*expr.args[0]), arguments(expr));
    case Expr::Kind::test:
      return Value::of(test(expr));
    case Expr::Kind::negate:
      return Value::of(!evaluate(*expr.args[0]).truth());
    case Expr::Kind::unary:
      return unary(expr.name, evaluate(*expr.args[0]));
    case Expr::Kind::binary: {
      const Value left = evaluate(*expr.args[0]);
      return binary(work_, expr.name, left, evaluate(*expr.args[1]));
    }
    case Expr::Kind::logic: {
      Value left = evaluate(*expr.args[0]);
      return left.truth() == (expr.name == "or") ? left : evaluate(*expr.args[1]);
    }
    case Expr::Kind::compare:
      return compare_chain(expr);
    case Expr::Kind::concat:
      return concatenate(expr);
    case Expr::Kind::conditional:
      if (evaluate(*expr.args[0]).truth()) return evaluate(*expr.args[1]);
      if (expr.args[2]) return evaluate(*expr.args[2]);
      return Value::undefined("the inline if is false and has no else");
  }
  return Value();
}

Value Renderer::literal(const Expr& expr) {
  work_.spend(expr.args.size());
  if (expr.kind == Expr::Kind::dict) {
    auto dict = std::make_shared<Dict>();
    for (size_t i = 0; i + 1 < expr.args.size(); i += 2) {
      Value key = evaluate(*expr.args[i]);
      if (key.is_list() || key.is_dict()) {
        throw TemplateError(fmt::format("a key cannot be of type {}", key.type_name()));
      }
      work_.spend(dict->items.size() / 8);
      dict->set(std::move(key), evaluate(*expr.args[i + 1]));
    }
    return Value::of(std::move(dict));
  }
  std::vector<Value> items;
  for (const ExprPtr& item : expr.args) items.push_back(evaluate(*item));
  return Value::list(std::move(items), expr.kind == Expr::Kind::list ? List::Kind::list : List::Kind::tuple);
}

Value Renderer::compare_chain(const Expr& expr) {
  Value left = evaluate(*expr.args[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = evaluate(*expr.args[i + 1]);
    if (!compare(work_, expr.ops[i], left, right)) return Value::of(false);
    left = std::move(right);
  }
  return Value::of(true);
}

Value Renderer::concatenate(const Expr& expr) {
  std::string out;
  for (const ExprPtr& part : expr.args) {
    const Value value = evaluate(*part);
    work_.spend(value.extent().weight);
    out += to_text(value);
    if (out.size() > Work::kMaxText) work_.reserve(out.size());
  }
  return work_.text(std::move(out));
}

Value Renderer::slice(const Expr& expr) {
  const Value object = evaluate(*expr.args[0]);
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    parts[i] = expr.args[i + 1] ? evaluate(*expr.args[i + 1]) : Value::none();
  }
  return get_slice(work_, object, parts[0], parts[1], parts[2]);
}

Arguments Renderer::arguments(const Expr& expr) {
  Arguments out;
  for (size_t i = 1; i < expr.args.size(); ++i) {
    if (expr.args[i]->kind != Expr::Kind::spread) {
      out.positional.push_back(evaluate(*expr.args[i]));
      continue;
    }
    const std::vector<Value> all = iterate(work_, evaluate(*expr.args[i]->args[0]));
    work_.reserve((out.positional.size() + all.size()) * sizeof(Value));
    out.positional.insert(out.positional.end(), all.begin(), all.end());
  }
  for (const auto& [name, value] : expr.kwargs) {
    if (!name.empty()) {
      out.named.emplace_back(name, evaluate(*value));
      continue;
    }
    const Value all = evaluate(*value);
    if (!all.is_mapping()) throw TemplateError(fmt::format("** wants a dict, not {}", all.type_name()));
    for (const auto& [key, item] : all.dict().items) {
      if (!key.is_string()) throw TemplateError("keywords must be strings");
      out.named.emplace_back(key.string(), item);
    }
    work_.reserve(out.named.size() * 2 * sizeof(Value));
  }
  return out;
}

Value Renderer::filter_chain(const Expr& expr, const Value& input) {
  const Value inner = expr.args[0] ? filter_chain(*expr.args[0], input) : input;
  return apply_filter(work_, expr.name, inner, arguments(expr));
}

bool Renderer::test(const Expr& expr) {
  const Value input = evaluate(*expr.args[0]);
  return apply_test(work_, expr.name, input, arguments(expr));
}

Value Renderer::call(const Value& callee, const Arguments& given) {
  if (callee.is_undefined()) callee.fail_undefined();
  if (callee.is_loop()) return run_loop_again(*callee.loop(), given);
  if (!callee.is_function())
    throw TemplateError(fmt::format("'{}' object is not callable", callee.type_name()));
  const Function& function = callee.function();
  switch (function.kind) {
    case Function::Kind::macro:
    case Function::Kind::caller:
      return call_macro(function, given);
    case Function::Kind::method:
      return call_method(work_, *function.self, function.name, given);
    case Function::Kind::global:
      return call_global(function.name, given);
    case Function::Kind::loop_cycle:
      if (given.positional.empty()) throw TemplateError("no items for cycling given");
      return given.positional[function.loop->index % given.positional.size()];
    case Function::Kind::loop_changed: {
      Loop& loop = *function.loop;
      const Value now = Value::list(given.positional);
      const bool same = loop.has_changed && compare(work_, "==", Value::list(loop.last_changed), now);
      loop.has_changed = true;
      loop.last_changed = given.positional;
      return Value::of(!same);
    }
  }
  return Value();
}

Value Renderer::call_range(const Arguments& given) {
  const auto& bounds = given.positional;
  if (bounds.empty() || bounds.size() > 3) throw TemplateError("range takes one to three integers");
  const int64_t begin = bounds.size() > 1 ? bounds[0].to_int() : 0;
  const int64_t end = bounds[bounds.size() > 1 ? 1 : 0].to_int();
  const int64_t by = bounds.size() > 2 ? bounds[2].to_int() : 1;
  constexpr int64_t kMaxRange = 100'000;  // the limit of Jinja's sandbox
  constexpr int64_t kFar = int64_t{1} << 61;
  if (by == 0) throw TemplateError("range: the step is 0");
  if (std::max({begin, end, by}) > kFar || std::min({begin, end, by}) < -kFar)
    throw TemplateError("range: a bound is too large");
  const int64_t span = by > 0 ? end - begin : begin - end;
  const int64_t count = span <= 0 ? 0 : (span - 1) / (by > 0 ? by : -by) + 1;
  if (count > kMaxRange)
    throw TemplateError(fmt::format("range: {} numbers, at most {} are made", count, kMaxRange));
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) items.push_back(Value::of(begin + i * by));
  work_.reserve(items.size() * sizeof(Value));
  return Value::list(std::move(items));
}

Value Renderer::call_global(const std::string& name, const Arguments& given) {
  if (name == "range") return call_range(given);
  if (name == "raise_exception")
    throw TemplateError("the template refuses: " + to_text(given.want(0, "message")));
  if (name == "strftime_now") return work_.text(format_time(to_text(given.want(0, "format")), now_));
  auto dict = std::make_shared<Dict>();
  if (!given.positional.empty()) {
    if (!given.positional[0].is_mapping())
      throw TemplateError(fmt::format("{} wants a dict or named values", name));
    dict->items = given.positional[0].dict().items;
  }
  for (const auto& [key, value] : given.named) dict->set(Value::of(key), value);
  work_.reserve(sizeof(Dict) + dict->items.size() * 2 * sizeof(Value));
  if (name == "namespace") {
    dict->is_namespace = true;
    namespaces_.push_back(dict);
  }
  return Value::of(std::move(dict));
}

}  // namespace r1::jinja
