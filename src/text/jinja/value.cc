#include "text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/utf8.h"

namespace r1::jinja {

Value* Dict::find(const Value& key) {
  for (auto& [name, value] : items) {
    if (equal(name, key)) return &value;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name.is_string() && name.string() == key) return &value;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (Value* old = find(key)) {
    *old = std::move(value);
  } else {
    items.emplace_back(std::move(key), std::move(value));
  }
}

namespace {

void grow(Extent& extent, const Value& part) {
  const Extent inner = part.extent();
  extent.weight += inner.weight;
  extent.depth = std::max(extent.depth, inner.depth + 1);
  if (extent.weight > kMaxWeight) throw TemplateError("a value is too large");
  if (extent.depth > kMaxNesting) throw TemplateError("values are nested too deeply");
}

}  // namespace

Value Value::list(std::vector<Value> items, List::Kind kind) {
  auto list = std::make_shared<List>(List{std::move(items), kind, {}});
  for (const Value& item : list->items) grow(list->extent, item);
  return Value(std::move(list));
}

Value Value::of(std::shared_ptr<Dict> dict) {
  dict->extent = {};
  if (!dict->is_namespace) {
    for (const auto& [key, value] : dict->items) {
      grow(dict->extent, key);
      grow(dict->extent, value);
    }
  }
  return Value(std::move(dict));
}

Extent Value::extent() const {
  if (is_string()) return {string().size() / 16 + 1, 1};
  if (is_big()) return {digits().size() / 16 + 1, 1};
  if (is_list()) return list().extent;
  if (is_dict()) return dict().extent;
  // Only their name is printed, but the values that they hold are destroyed with them, so their depth counts.
  if (is_loop()) return {1, loop()->list->extent.depth + 1};
  if (is_function() && function().self) return {1, function().self->extent().depth + 1};
  if (is_function() && function().loop) return {1, function().loop->list->extent.depth + 2};
  return {};
}

Value Value::integer(std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  if (const auto [at, ec] = std::from_chars(text.data(), end, number); ec == std::errc() && at == end)
    return of(number);
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  const size_t first = std::min(digits.find_first_not_of('0'), digits.size());
  return big((negative ? "-" : "") + std::string(digits.substr(first)));
}

Value Value::from_json(const Json& json) {
  switch (json.kind()) {
    case Json::Kind::null:
      return none();
    case Json::Kind::boolean:
      return of(json.boolean());
    case Json::Kind::integer:
      return of(json.integer());
    case Json::Kind::number: {
      const std::string_view text = json.number_text();
      const bool is_integer = !text.empty() && text.find_first_of(".eE") == std::string_view::npos;
      return is_integer ? integer(text) : of(json.number());
    }
    case Json::Kind::string:
      return of(json.string());
    case Json::Kind::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json.items()) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Json::Kind::object: {
      auto dict = std::make_shared<Dict>();
      dict->items.reserve(json.size());
      // The parser has refused duplicate keys, so no search is needed.
      for (const auto& [key, value] : json.members()) dict->items.emplace_back(of(key), from_json(value));
      return of(std::move(dict));
    }
  }
  return none();
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return std::get<bool>(data_);
  if (is_int()) return std::get<int64_t>(data_) != 0;
  if (is_float()) return std::get<double>(data_) != 0;
  if (is_big()) return true;
  if (is_string()) return !string().empty();
  if (is_list()) return list().kind == List::Kind::generator || !list().items.empty();
  if (is_dict()) return dict().is_namespace || !dict().items.empty();
  return true;
}

const char* Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int() || is_big()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_dict()) return dict().is_namespace ? "Namespace" : "dict";
  if (is_loop()) return "LoopContext";
  if (is_function()) return "function";
  switch (list().kind) {
    case List::Kind::list:
      return "list";
    case List::Kind::tuple:
      return "tuple";
    case List::Kind::generator:
      return "generator";
    case List::Kind::view:
      return "dict_view";
  }
  return "list";
}

void Value::fail_undefined() const {
  throw TemplateError(undefined_reason().empty() ? "a value is undefined" : undefined_reason());
}

int64_t Value::to_int() const {
  if (is_undefined()) fail_undefined();
  if (is_bool()) return std::get<bool>(data_) ? 1 : 0;
  if (is_int()) return std::get<int64_t>(data_);
  if (is_big()) throw TemplateError("an integer is too large to calculate with");
  throw TemplateError(fmt::format("{} stands in the place of an integer", type_name()));
}

double Value::to_double() const {
  if (is_float()) return std::get<double>(data_);
  if (is_bool() || is_int()) return static_cast<double>(to_int());
  if (is_big()) return std::strtod(digits().c_str(), nullptr);
  if (is_undefined()) fail_undefined();
  throw TemplateError(fmt::format("{} stands in the place of a number", type_name()));
}

Value truncated(double value) {
  if (!std::isfinite(value)) throw TemplateError("there is no integer of NaN or infinity");
  if (std::abs(value) < 0x1p62) return Value::of(static_cast<int64_t>(value));
  return Value::integer(fmt::format("{:.0f}", std::trunc(value)));
}

namespace {

bool big_less(const std::string& a, const std::string& b) {
  const bool negative = a.starts_with('-');
  if (negative != b.starts_with('-')) return negative;
  if (a.size() != b.size()) return (a.size() < b.size()) != negative;
  return negative ? b < a : a < b;
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if ((a.is_big() || b.is_big()) && !a.is_float() && !b.is_float())
      return a.is_big() && b.is_big() && a.digits() == b.digits();
    if (!a.is_float() && !b.is_float()) return a.to_int() == b.to_int();
    return a.to_double() == b.to_double();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_list() && b.is_list()) {
    const List& x = a.list();
    const List& y = b.list();
    if (&x == &y) return true;
    if (x.kind != y.kind || x.kind == List::Kind::generator || x.items.size() != y.items.size()) return false;
    for (size_t i = 0; i < x.items.size(); ++i) {
      if (!equal(x.items[i], y.items[i])) return false;
    }
    return true;
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict& x = a.dict();
    const Dict& y = b.dict();
    if (&x == &y) return true;
    if (x.is_namespace || y.is_namespace || x.items.size() != y.items.size()) return false;
    for (const auto& [key, value] : x.items) {
      const Value* other = y.find(key);
      if (other == nullptr || !equal(value, *other)) return false;
    }
    return true;
  }
  if (a.is_function() && b.is_function()) return &a.function() == &b.function();
  return a.is_loop() && b.is_loop() && a.loop() == b.loop();
}

bool less(const Value& a, const Value& b) {
  if (a.is_undefined()) a.fail_undefined();
  if (b.is_undefined()) b.fail_undefined();
  if (a.is_number() && b.is_number()) {
    if ((a.is_big() || b.is_big()) && !a.is_float() && !b.is_float()) {
      const auto text = [](const Value& v) { return v.is_big() ? v.digits() : std::to_string(v.to_int()); };
      return big_less(text(a), text(b));
    }
    if (!a.is_float() && !b.is_float()) return a.to_int() < b.to_int();
    return a.to_double() < b.to_double();
  }
  if (a.is_string() && b.is_string())
    return a.string() < b.string();  // the byte order of UTF-8 is the order of code points
  if (a.is_list() && b.is_list() && a.list().kind == b.list().kind &&
      a.list().kind != List::Kind::generator) {
    const auto& x = a.list().items;
    const auto& y = b.list().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(x[i], y[i])) return less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  throw TemplateError(fmt::format("{} and {} have no order", a.type_name(), b.type_name()));
}

size_t length_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t offset_of(std::string_view text, size_t index) {
  size_t at = 0;
  while (at < text.size() && index > 0) {
    ++at;
    while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
    --index;
  }
  return at;
}

}  // namespace r1::jinja
