// Filters, {{ x | NAME }}, on numbers, lists and dicts. Sorting and grouping are in filters_group.cc, text in
// filters_text.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/ascii.h"
#include "formats/shown.h"
#include "text/jinja/operations.h"

namespace r1::jinja {

Value get_path(Work& work, const Value& item, const Value& path) {
  if (!path.is_string()) return get_item(work, item, path);
  const std::string& text = path.string();
  Value value = item;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('.', at), text.size());
    const std::string part = text.substr(at, end - at);
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && parsed.ec == std::errc() &&
                          parsed.ptr == part.data() + part.size() && part[0] != '-';
    value = get_item(work, value, is_index ? Value::of(index) : Value::of(part));
    at = end + 1;
  }
  return value;
}

namespace {

Value length(Work& work, const Value& input) {
  if (input.is_undefined()) return Value::of(int64_t{0});
  if (input.is_string()) {
    work.spend_bytes(input.string().size());
    return Value::of(static_cast<int64_t>(length_of(input.string())));
  }
  if (input.is_mapping()) return Value::of(static_cast<int64_t>(input.dict().items.size()));
  if (input.is_list() && input.list().kind != List::Kind::generator) {
    return Value::of(static_cast<int64_t>(input.list().items.size()));
  }
  throw TemplateError(fmt::format("object of type '{}' has no len()", input.type_name()));
}

Arguments rest_of(const Arguments& arguments, size_t from) {
  Arguments rest;
  for (size_t i = from; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  rest.named = arguments.named;
  return rest;
}

// For map and select only, a false value such as none counts as an empty sequence.
std::vector<Value> iterate_if_any(Work& work, const Value& input) {
  return input.truth() ? iterate(work, input) : std::vector<Value>();
}

Value map(Work& work, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  const Value* attribute = arguments.positional.empty() ? arguments.find(0, "attribute") : nullptr;
  if (attribute != nullptr) {
    const Value* fallback = arguments.find(1, "default");
    for (const Value& item : iterate_if_any(work, input)) {
      Value value = get_path(work, item, *attribute);
      out.push_back(value.is_undefined() && fallback != nullptr ? *fallback : std::move(value));
    }
  } else {
    const std::string name = to_text(arguments.want(0, "filter"));
    const Arguments rest = rest_of(arguments, 1);
    for (const Value& item : iterate_if_any(work, input)) out.push_back(apply_filter(work, name, item, rest));
  }
  return Value::list(std::move(out), List::Kind::generator);
}

// Implements select, reject, selectattr and rejectattr.
Value select(Work& work, const Value& input, const Arguments& arguments, bool by_attribute, bool keep) {
  const size_t first = by_attribute ? 1 : 0;
  std::string test;
  if (arguments.positional.size() > first) test = to_text(arguments.positional[first]);
  const Arguments rest = rest_of(arguments, first + 1);
  std::vector<Value> out;
  for (const Value& item : iterate_if_any(work, input)) {
    const Value subject = by_attribute ? get_path(work, item, arguments.want(0, "attribute")) : item;
    if ((test.empty() ? subject.truth() : apply_test(work, test, subject, rest)) == keep) out.push_back(item);
  }
  return Value::list(std::move(out), List::Kind::generator);
}

Value sum(Work& work, const Value& input, const Arguments& arguments) {
  const Value* attribute = arguments.find(0, "attribute");
  const Value* start = arguments.find(1, "start");
  Value total = start == nullptr ? Value::of(int64_t{0}) : *start;
  for (const Value& item : iterate(work, input)) {
    total = binary(work, "+", total,
                   attribute == nullptr || attribute->is_none() ? item : get_path(work, item, *attribute));
  }
  return total;
}

Value join(Work& work, const Value& input, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "d");
  const Value* attribute = arguments.find(1, "attribute");
  const std::string between = separator == nullptr ? std::string() : to_text(*separator);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(work, input)) {
    if (!first) out += between;
    first = false;
    const Value value =
        attribute == nullptr || attribute->is_none() ? item : get_path(work, item, *attribute);
    work.spend(value.extent().weight + between.size() / 16);
    out += to_text(value);
    if (out.size() > Work::kMaxText) work.reserve(out.size());
  }
  return work.text(std::move(out));
}

std::optional<Value> integer_of(std::string_view text, int base) {
  std::string digits(text.substr(text.starts_with('+') || text.starts_with('-') ? 1 : 0));
  const bool negative = text.starts_with('-');
  if (base == 16 && (digits.starts_with("0x") || digits.starts_with("0X"))) digits.erase(0, 2);
  if (base == 8 && (digits.starts_with("0o") || digits.starts_with("0O"))) digits.erase(0, 2);
  if (base == 2 && (digits.starts_with("0b") || digits.starts_with("0B"))) digits.erase(0, 2);
  if (digits.empty()) return std::nullopt;
  if (base == 10) {
    if (!std::all_of(digits.begin(), digits.end(), is_digit)) return std::nullopt;
    return Value::integer((negative ? "-" : "") + digits);
  }
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (ec != std::errc() || end != digits.data() + digits.size() || digits.front() == '-') return std::nullopt;
  return Value::of(negative ? -value : value);
}

std::optional<double> float_of(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// Implements int and float. Returns the default if the input cannot be read.
Value number(const Value& input, const Arguments& arguments, bool integer) {
  const Value* given = arguments.find(0, "default");
  const Value* base = integer ? arguments.find(1, "base") : nullptr;
  const Value fallback = given != nullptr ? *given : integer ? Value::of(int64_t{0}) : Value::of(0.0);
  if (input.is_undefined()) input.fail_undefined();
  if (!input.is_string() && !input.is_number()) return fallback;
  if (!input.is_string()) {
    if (!integer) return Value::of(input.to_double());
    if (!input.is_float()) return input.is_bool() ? Value::of(input.to_int()) : input;
    return std::isfinite(input.to_double()) ? truncated(input.to_double()) : fallback;
  }
  const std::string text = strip(input.string(), nullptr, true, true);
  if (integer) {
    const int64_t digits = base == nullptr ? 10 : base->to_int();
    if (digits < 2 || digits > 36) return fallback;
    if (auto whole = integer_of(text, static_cast<int>(digits))) return *std::move(whole);
  }
  const std::optional<double> real = float_of(text);
  if (!real) return fallback;
  if (!integer) return Value::of(*real);
  return std::isfinite(*real) ? truncated(*real) : fallback;
}

// Implements round: common rounds to the nearest, as Python's round does; the other methods are ceil and
// floor.
Value round(const Value& input, const Arguments& arguments) {
  const Value* given = arguments.find(0, "precision");
  const Value* method = arguments.find(1, "method");
  const int digits = given == nullptr ? 0 : static_cast<int>(std::clamp<int64_t>(given->to_int(), -300, 300));
  const std::string how = method == nullptr ? "common" : to_text(*method);
  if (how != "common" && how != "ceil" && how != "floor")
    throw TemplateError("round: the method is common, ceil or floor");
  if (!input.is_number()) throw TemplateError(fmt::format("round wants a number, not {}", input.type_name()));
  if (how == "common" && !input.is_float()) return input.is_bool() ? Value::of(input.to_int()) : input;
  const double number = input.to_double();
  if (how == "common" && digits >= 0)
    return Value::of(std::strtod(fmt::format("{:.{}f}", number, digits).c_str(), nullptr));
  const double scale = std::pow(10.0, digits);
  const double scaled = number * scale;
  const double rounded = how == "ceil"    ? std::ceil(scaled)
                         : how == "floor" ? std::floor(scaled)
                                          : std::nearbyint(scaled);
  return Value::of(std::abs(scaled) < DBL_MAX ? rounded / scale : number);
}

Value items(const Value& input) {
  if (!input.is_undefined() && !input.is_mapping())
    throw TemplateError("Can only get item pairs from a mapping.");
  std::vector<Value> out;
  if (input.is_mapping()) {
    for (const auto& [key, value] : input.dict().items)
      out.push_back(Value::list({key, value}, List::Kind::tuple));
  }
  return Value::list(std::move(out), List::Kind::generator);
}

Value reverse(Work& work, const Value& input) {
  if (!input.is_string() && !input.is_list() && !input.is_mapping()) {
    throw TemplateError(fmt::format("'{}' object is not reversible", input.type_name()));
  }
  std::vector<Value> out = iterate(work, input);
  std::reverse(out.begin(), out.end());
  if (!input.is_string()) return Value::list(std::move(out), List::Kind::generator);
  std::string text;
  for (const Value& letter : out) text += letter.string();
  return work.text(std::move(text));
}

}  // namespace

Value apply_filter(Work& work, std::string_view name, const Value& input, const Arguments& arguments) {
  work.spend(1);
  const Work::Deeper deeper(work);  // because map takes filters by name
  Value out;
  if (apply_text_filter(work, name, input, arguments, out)) return out;
  if (apply_group_filter(work, name, input, arguments, out)) return out;
  if (name == "default" || name == "d") {
    const bool missing = input.is_undefined() || (arguments.flag(1, "boolean") && !input.truth());
    const Value* fallback = arguments.find(0, "default_value");
    return !missing ? input : fallback != nullptr ? *fallback : Value::of(std::string());
  }
  if (name == "length" || name == "count") return length(work, input);
  if (name == "join") return join(work, input, arguments);
  if (name == "list") return Value::list(iterate(work, input));
  if (name == "items") return items(input);
  if (name == "map") return map(work, input, arguments);
  if (name == "select" || name == "reject") return select(work, input, arguments, false, name == "select");
  if (name == "selectattr" || name == "rejectattr")
    return select(work, input, arguments, true, name == "selectattr");
  if (name == "sum") return sum(work, input, arguments);
  if (name == "reverse") return reverse(work, input);
  if (name == "int" || name == "float") return number(input, arguments, name == "int");
  if (name == "round") return round(input, arguments);
  if (name == "attr") return get_attribute(work, input, to_text(arguments.want(0, "name")));
  if (name == "abs") {
    if (input.is_bool()) return Value::of(input.to_int());
    return input.to_double() < 0 ? unary("-", input) : input;
  }
  if (name == "first" || name == "last") {
    const std::vector<Value> all = iterate(work, input);
    if (all.empty()) return Value::undefined(fmt::format("No {} item, sequence was empty.", name));
    return name == "first" ? all.front() : all.back();
  }
  throw TemplateError(fmt::format("no filter named '{}'", shown(name)));
}

}  // namespace r1::jinja
