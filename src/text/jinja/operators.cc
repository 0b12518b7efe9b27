#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text_util.h"
#include "text/jinja/operations.h"
#include "text/utf8.h"

namespace r1::jinja {

const Value* Arguments::find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

const Value& Arguments::want(size_t index, std::string_view name) const {
  const Value* value = find(index, name);
  if (value == nullptr) throw TemplateError(fmt::format("the argument {} is missing", name));
  return *value;
}

bool Arguments::flag(size_t index, std::string_view name) const {
  const Value* value = find(index, name);
  return value != nullptr && value->truth();
}

namespace {

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) a.fail_undefined();
  if (b.is_undefined()) b.fail_undefined();
  if (op == "+" && a.is_string()) {
    throw TemplateError(fmt::format("can only concatenate str (not \"{}\") to str", b.type_name()));
  }
  throw TemplateError(
      fmt::format("unsupported operand types for {}: {} and {}", op, a.type_name(), b.type_name()));
}

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0 && base == 0) throw TemplateError("0 cannot be raised to a negative power");
  if (exponent < 0) return Value::of(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (base == 0 || base == 1) return Value::of(base);
    if (base == -1) return Value::of(int64_t{exponent % 2 == 0 ? 1 : -1} * result);
    if (__builtin_mul_overflow(result, base, &result)) throw TemplateError("an integer is too large");
  }
  return Value::of(result);
}

Value integer_binary(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return integer_power(a, b);
  } else {
    if (b == 0) throw TemplateError("division by zero");
    if (op == "/") return Value::of(static_cast<double>(a) / static_cast<double>(b));
    overflow = a == INT64_MIN && b == -1;
    if (!overflow) result = op == "//" ? floor_divide(a, b) : a - b * floor_divide(a, b);
  }
  if (overflow) throw TemplateError("an integer is too large");
  return Value::of(result);
}

Value float_binary(std::string_view op, double a, double b) {
  if (op == "+") return Value::of(a + b);
  if (op == "-") return Value::of(a - b);
  if (op == "*") return Value::of(a * b);
  if (op == "**") return Value::of(std::pow(a, b));
  if (b == 0) throw TemplateError("division by zero");
  if (op == "/") return Value::of(a / b);
  const double floored = std::floor(a / b);
  return Value::of(op == "//" ? floored : a - b * floored);
}

Value repeat(Work& work, const Value& sequence, int64_t count) {
  const size_t times = count > 0 ? static_cast<size_t>(count) : 0;
  const auto check = [&](size_t size) {
    if (size > 0 && times > Work::kMaxText / size) throw TemplateError("a text is larger than 8 MiB");
    work.reserve(size * times);
  };
  if (sequence.is_string()) {
    const std::string& text = sequence.string();
    check(text.size());
    std::string out;
    for (size_t i = 0; i < times && !text.empty(); ++i) out += text;
    return Value::of(std::move(out));
  }
  const List& list = sequence.list();
  check(list.items.size() * sizeof(Value));
  std::vector<Value> out;
  for (size_t i = 0; i < times && !list.items.empty(); ++i)
    out.insert(out.end(), list.items.begin(), list.items.end());
  return Value::list(std::move(out), list.kind);
}

bool is_list_or_tuple(const Value& value) {
  return value.is_list() && (value.list().kind == List::Kind::list || value.list().kind == List::Kind::tuple);
}

}  // namespace

Value binary(Work& work, std::string_view op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float() || (op == "/" && (a.is_big() || b.is_big())))
      return float_binary(op, a.to_double(), b.to_double());
    return integer_binary(op, a.to_int(), b.to_int());
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    work.reserve(a.string().size() + b.string().size());
    if (a.is_markup() || b.is_markup()) {
      const auto escaped = [](const Value& v) {
        return v.is_markup() ? v.string() : html_escaped(v.string());
      };
      work.reserve(6 * (a.string().size() + b.string().size()));
      return Value::markup(escaped(a) + escaped(b));
    }
    return Value::of(a.string() + b.string());
  }
  if (op == "+" && is_list_or_tuple(a) && is_list_or_tuple(b) && a.list().kind == b.list().kind) {
    std::vector<Value> items = a.list().items;
    work.reserve((items.size() + b.list().items.size()) * sizeof(Value));
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return Value::list(std::move(items), a.list().kind);
  }
  if (op == "%" && a.is_string()) return work.text(format_percent(work, a.string(), b));
  if (op == "*" && (a.is_string() || is_list_or_tuple(a)) && (b.is_int() || b.is_bool()))
    return repeat(work, a, b.to_int());
  if (op == "*" && (b.is_string() || is_list_or_tuple(b)) && (a.is_int() || a.is_bool()))
    return repeat(work, b, a.to_int());
  fail_operands(op, a, b);
}

Value unary(std::string_view op, const Value& a) {
  if (a.is_float()) return Value::of(op == "-" ? -a.to_double() : a.to_double());
  if (a.is_big() && op == "+") return a;
  if (a.is_big())
    return Value::integer(a.digits().starts_with('-') ? a.digits().substr(1) : "-" + a.digits());
  if (!a.is_number()) fail_operands(op, a, a);
  if (op == "-" && a.is_int() && a.to_int() == INT64_MIN) return Value::big("9223372036854775808");
  return integer_binary(op, 0, a.to_int());
}

bool compare(Work& work, std::string_view op, const Value& a, const Value& b) {
  work.spend(a.extent().weight / 4 + b.extent().weight / 4 + 1);
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(work, b, a);
  if (op == "not in") return !contains(work, b, a);
  if (op == "<") return less(a, b);
  if (op == ">") return less(b, a);
  const auto is_nan = [](const Value& v) { return v.is_float() && std::isnan(v.to_double()); };
  if (is_nan(a) || is_nan(b)) return false;
  return op == "<=" ? !less(b, a) : !less(a, b);
}

bool contains(Work& work, const Value& container, const Value& item) {
  if (container.is_undefined()) return false;
  if (container.is_string()) {
    if (item.is_undefined()) item.fail_undefined();
    if (!item.is_string()) {
      throw TemplateError(
          fmt::format("'in <string>' requires string as left operand, not {}", item.type_name()));
    }
    work.spend_bytes(container.string().size());
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_mapping()) {
    work.spend(container.dict().items.size());
    return container.dict().find(item) != nullptr;
  }
  if (container.is_list()) {
    const auto& items = container.list().items;
    work.spend(items.size() + container.extent().weight / 4);
    return std::any_of(items.begin(), items.end(), [&](const Value& value) { return equal(value, item); });
  }
  throw TemplateError(fmt::format("argument of type '{}' is not iterable", container.type_name()));
}

namespace {

Value undefined_member(const Value& object, const std::string& name) {
  const std::string type = object.is_none() ? "None" : fmt::format("{} object", object.type_name());
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", type, name));
}

Value loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop->index);
  const auto length = static_cast<int64_t>(loop->list->items.size());
  if (name == "index") return Value::of(index + 1);
  if (name == "index0") return Value::of(index);
  if (name == "revindex") return Value::of(length - index);
  if (name == "revindex0") return Value::of(length - index - 1);
  if (name == "first") return Value::of(index == 0);
  if (name == "last") return Value::of(index + 1 == length);
  if (name == "length") return Value::of(length);
  if (name == "depth") return Value::of(int64_t{loop->depth});
  if (name == "depth0") return Value::of(int64_t{loop->depth - 1});
  if (name == "previtem" && index > 0) return loop->list->items[index - 1];
  if (name == "nextitem" && index + 1 < length) return loop->list->items[index + 1];
  if (name == "cycle" || name == "changed") {
    auto function = std::make_shared<Function>();
    function->kind = name == "cycle" ? Function::Kind::loop_cycle : Function::Kind::loop_changed;
    function->name = name;
    function->loop = loop;
    return Value::of(std::shared_ptr<const Function>(std::move(function)));
  }
  return Value::undefined(fmt::format("the loop has no attribute '{}'", name));
}

// Returns the item of a dict by key or of a sequence by index, or nothing if there is none.
std::optional<Value> find_item(Work& work, const Value& object, const Value& key) {
  if (object.is_dict()) {
    work.spend(object.dict().items.size() / 8);
    const Value* value = object.dict().find(key);
    return value == nullptr ? std::nullopt : std::optional(*value);
  }
  if (!key.is_int() && !key.is_bool()) return std::nullopt;
  int64_t index = key.to_int();
  if (object.is_list() && object.list().kind != List::Kind::generator &&
      object.list().kind != List::Kind::view) {
    const auto& items = object.list().items;
    if (index < 0) index += static_cast<int64_t>(items.size());
    if (index < 0 || index >= static_cast<int64_t>(items.size())) return std::nullopt;
    return items[index];
  }
  if (object.is_string()) {
    const std::string& text = object.string();
    work.spend_bytes(text.size());
    if (index < 0) index += static_cast<int64_t>(length_of(text));
    if (index < 0) return std::nullopt;
    const size_t begin = offset_of(text, static_cast<size_t>(index));
    if (begin >= text.size()) return std::nullopt;
    return Value::of(text.substr(begin, decode_utf8(text, begin).size));
  }
  return std::nullopt;
}

std::optional<Value> find_attribute(const Value& object, const std::string& name) {
  if (object.is_list() && object.list().is_group && (name == "grouper" || name == "list"))
    return object.list().items[name == "list" ? 1 : 0];
  if (object.is_loop()) return loop_attribute(object.loop(), name);
  if (!has_method(object, name)) return std::nullopt;
  auto function = std::make_shared<Function>();
  function->kind = Function::Kind::method;
  function->name = name;
  function->self = std::make_shared<const Value>(object);
  return Value::of(std::shared_ptr<const Function>(std::move(function)));
}

}  // namespace

Value get_item(Work& work, const Value& object, const Value& key) {
  work.spend(1);
  if (object.is_undefined()) object.fail_undefined();
  if (auto value = find_item(work, object, key)) return *std::move(value);
  if (key.is_string()) {
    if (auto value = find_attribute(object, key.string())) return *std::move(value);
    return undefined_member(object, key.string());
  }
  if (object.is_none()) return Value::undefined(fmt::format("None has no element {}", to_repr(key)));
  return Value::undefined(fmt::format("{} object has no element {}", object.type_name(), to_repr(key)));
}

Value get_attribute(Work& work, const Value& object, const std::string& name) {
  work.spend(1);
  if (object.is_undefined()) object.fail_undefined();
  if (auto value = find_attribute(object, name)) return *std::move(value);
  if (auto value = find_item(work, object, Value::of(name))) return *std::move(value);
  return undefined_member(object, name);
}

Value get_slice(Work& work, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) object.fail_undefined();
  if (!object.is_string() && !is_list_or_tuple(object)) {
    throw TemplateError(fmt::format("'{}' object cannot be sliced", object.type_name()));
  }
  std::vector<Value> letters;
  std::string_view text;
  std::vector<size_t> offsets;  // of code points
  if (object.is_string()) {
    text = object.string();
    work.spend_bytes(text.size() * sizeof(size_t));
    for (size_t at = 0; at < text.size(); at += decode_utf8(text, at).size) offsets.push_back(at);
    offsets.push_back(text.size());
  }
  const auto size =
      static_cast<int64_t>(object.is_string() ? offsets.size() - 1 : object.list().items.size());
  const int64_t by = step.is_none() ? 1 : step.to_int();
  if (by == 0) throw TemplateError("slice step cannot be zero");
  const auto bound = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    int64_t at = std::clamp(value.to_int(), -size - 1, size + 1);
    if (at < 0) at += size;
    return by > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  const int64_t begin = bound(start, by > 0 ? 0 : size - 1);
  const int64_t end = bound(stop, by > 0 ? size : -1);
  if (object.is_string()) {
    if (by == 1)
      return work.text(
          std::string(text.substr(offsets[begin], begin < end ? offsets[end] - offsets[begin] : 0)));
    std::string out;
    // A large `by` must not overflow, so it is never added to an index beyond the end.
    for (int64_t at = begin; by > 0 ? at < end : at > end;) {
      out += text.substr(offsets[at], offsets[at + 1] - offsets[at]);
      if (by > 0 ? end - at <= by : at - end <= -by) break;
      at += by;
    }
    return work.text(std::move(out));
  }
  std::vector<Value> out;
  const auto& items = object.list().items;
  work.spend(items.size());
  for (int64_t at = begin; by > 0 ? at < end : at > end;) {
    out.push_back(items[at]);
    if (by > 0 ? end - at <= by : at - end <= -by) break;
    at += by;
  }
  return Value::list(std::move(out), object.list().kind);
}

std::vector<Value> iterate(Work& work, const Value& value) {
  std::vector<Value> out;
  if (value.is_undefined()) return out;
  if (value.is_list()) {
    work.reserve(value.list().items.size() * sizeof(Value));
    return value.list().items;
  }
  if (value.is_mapping()) {
    work.reserve(value.dict().items.size() * sizeof(Value));
    for (const auto& item : value.dict().items) out.push_back(item.first);
    return out;
  }
  if (value.is_string()) {
    const std::string& text = value.string();
    work.reserve(text.size() * sizeof(Value));
    for (size_t at = 0; at < text.size();) {
      const int size = decode_utf8(text, at).size;
      out.push_back(Value::of(text.substr(at, size)));
      at += size;
    }
    return out;
  }
  throw TemplateError(fmt::format("'{}' object is not iterable", value.type_name()));
}

}  // namespace r1::jinja
