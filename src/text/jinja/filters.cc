// Filters: {{ x | NAME }}, those that see numbers, lists and dicts.
#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <cmath>

#include "formats/shown.h"
#include "text/jinja/operations.h"

namespace r1::jinja {
namespace {

bool flag(const Arguments& arguments, size_t index, std::string_view name) {
  const Value* value = arguments.find(index, name);
  return value != nullptr && value->truth();
}

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

// "function.name" of an item; a number is an index.
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

Arguments rest_of(const Arguments& arguments, size_t from) {
  Arguments rest;
  for (size_t i = from; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  rest.named = arguments.named;
  return rest;
}

// None and its like count as empty, for map and select only.
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

// select, reject, selectattr, rejectattr.
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

Value folded(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value::of(change_case(value.string(), "lower")) : value;
}

// Stable, by key; reverse keeps equal ones in order, as Python does.
void sort_by_keys(Work& work, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  size_t weight = 0;
  for (const auto& item : keyed) weight += item.first.extent().weight;
  work.spend(16 * weight);
  // A comparison may throw, which std::stable_sort survives; an inconsistent order (NaN) may not, so merge by
  // hand.
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::vector<std::pair<Value, Value>> merged(keyed.size());
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    for (size_t at = 0; at < keyed.size(); at += 2 * width) {
      const size_t middle = std::min(at + width, keyed.size());
      const size_t end = std::min(at + 2 * width, keyed.size());
      size_t left = at;
      size_t right = middle;
      for (size_t out = at; out < end; ++out) {
        const bool take_right =
            left == middle || (right < end && less(keyed[right].first, keyed[left].first));
        merged[out] = std::move(keyed[take_right ? right++ : left++]);
      }
    }
    keyed.swap(merged);
  }
  if (reverse) std::reverse(keyed.begin(), keyed.end());
}

Value sort(Work& work, const Value& input, const Arguments& arguments) {
  const bool reverse = flag(arguments, 0, "reverse");
  const bool case_sensitive = flag(arguments, 1, "case_sensitive");
  const Value* attribute = arguments.find(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : iterate(work, input)) {
    const Value key = attribute == nullptr || attribute->is_none() ? item : get_path(work, item, *attribute);
    keyed.emplace_back(folded(key, case_sensitive), item);
  }
  sort_by_keys(work, keyed, reverse);
  std::vector<Value> out;
  for (auto& item : keyed) out.push_back(std::move(item.second));
  return Value::list(std::move(out));
}

Value dictsort(Work& work, const Value& input, const Arguments& arguments) {
  if (!input.is_mapping())
    throw TemplateError(fmt::format("dictsort wants a dict, not {}", input.type_name()));
  const Value* by = arguments.find(1, "by");
  const bool by_value = by != nullptr && to_text(*by) == "value";
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : input.dict().items) {
    keyed.emplace_back(folded(by_value ? value : key, flag(arguments, 0, "case_sensitive")),
                       Value::list({key, value}, List::Kind::tuple));
  }
  sort_by_keys(work, keyed, flag(arguments, 2, "reverse"));
  std::vector<Value> out;
  for (auto& item : keyed) out.push_back(std::move(item.second));
  return Value::list(std::move(out));
}

Value unique(Work& work, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  std::vector<Value> keys;
  for (const Value& item : iterate(work, input)) {
    const Value key = folded(item, flag(arguments, 0, "case_sensitive"));
    work.spend(keys.size() + key.extent().weight);
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& seen) { return equal(seen, key); })) continue;
    keys.push_back(key);
    out.push_back(item);
  }
  return Value::list(std::move(out), List::Kind::generator);
}

Value extreme(Work& work, const Value& input, const Arguments& arguments, bool smallest) {
  const bool case_sensitive = flag(arguments, 0, "case_sensitive");
  Value best = Value::undefined("the sequence is empty");
  for (const Value& item : iterate(work, input)) {
    const Value a = folded(item, case_sensitive);
    const Value b = folded(best, case_sensitive);
    work.spend(a.extent().weight);
    if (best.is_undefined() || (smallest ? less(a, b) : less(b, a))) best = item;
  }
  return best;
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

// int and float: what cannot be read is the default.
Value number(const Value& input, const Arguments& arguments, bool integer) {
  const Value* given = arguments.find(0, "default");
  const Value fallback = given != nullptr ? *given : integer ? Value::of(int64_t{0}) : Value::of(0.0);
  if (input.is_undefined()) input.fail_undefined();
  double value = 0;
  if (input.is_string()) {
    const std::string text = strip(input.string(), nullptr, true, true);
    const char* end = text.data() + text.size();
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    int64_t whole = 0;
    const auto parsed = std::from_chars(begin, end, whole);
    if (integer && parsed.ec == std::errc() && parsed.ptr == end && begin != end) return Value::of(whole);
    const auto real = std::from_chars(begin, end, value);
    if (real.ec != std::errc() || real.ptr != end || begin == end) return fallback;
  } else if (input.is_number()) {
    if (!input.is_float()) return integer ? Value::of(input.to_int()) : Value::of(input.to_double());
    value = input.to_double();
  } else {
    return fallback;
  }
  if (!integer) return Value::of(value);
  return std::abs(value) < 0x1p62 ? Value::of(static_cast<int64_t>(value)) : fallback;  // false for NaN too
}

Value round(const Value& input, const Arguments& arguments) {
  const Value* digits = arguments.find(0, "precision");
  const Value* method = arguments.find(1, "method");
  const double scale = std::pow(
      10.0, digits == nullptr ? 0.0 : static_cast<double>(std::clamp<int64_t>(digits->to_int(), -300, 300)));
  const double scaled = input.to_double() * scale;
  const std::string how = method == nullptr ? "common" : to_text(*method);
  if (how == "common" && !input.is_float()) return Value::of(input.to_int());
  const double rounded = how == "ceil"    ? std::ceil(scaled)
                         : how == "floor" ? std::floor(scaled)
                                          : std::nearbyint(scaled);
  return Value::of(std::abs(scaled) < DBL_MAX ? rounded / scale : input.to_double());
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
  const Work::Deeper deeper(work);  // map takes filters by name
  Value text;
  if (apply_text_filter(work, name, input, arguments, text)) return text;
  if (name == "default" || name == "d") {
    const bool missing = input.is_undefined() || (flag(arguments, 1, "boolean") && !input.truth());
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
  if (name == "sort") return sort(work, input, arguments);
  if (name == "dictsort") return dictsort(work, input, arguments);
  if (name == "unique") return unique(work, input, arguments);
  if (name == "min" || name == "max") return extreme(work, input, arguments, name == "min");
  if (name == "sum") return sum(work, input, arguments);
  if (name == "reverse") return reverse(work, input);
  if (name == "int" || name == "float") return number(input, arguments, name == "int");
  if (name == "round") return round(input, arguments);
  if (name == "attr") return get_attribute(work, input, to_text(arguments.want(0, "name")));
  if (name == "abs") return input.to_double() < 0 ? unary("-", input) : input;
  if (name == "first" || name == "last") {
    const std::vector<Value> all = iterate(work, input);
    if (all.empty()) return Value::undefined(fmt::format("No {} item, sequence was empty.", name));
    return name == "first" ? all.front() : all.back();
  }
  throw TemplateError(fmt::format("no filter named '{}'", shown(name)));
}

}  // namespace r1::jinja
