// Tests: {{ x is NAME }}.
#include <fmt/format.h>

#include <cmath>

#include "formats/shown.h"
#include "text/jinja/operations.h"

namespace r1::jinja {
namespace {

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_list() || value.is_mapping();
}

bool is_sequence(const Value& value) {
  if (value.is_list()) return value.list().kind == List::Kind::list || value.list().kind == List::Kind::tuple;
  return value.is_undefined() || value.is_string() || value.is_mapping();
}

// Returns whether value % by == rest, with Python's sign rule.
bool has_remainder(const Value& value, int64_t by, int64_t rest) {
  if (by == 0) throw TemplateError("division by zero");
  if (value.is_float()) {
    const double number = value.to_double();
    const auto divisor = static_cast<double>(by);
    return number - divisor * std::floor(number / divisor) == static_cast<double>(rest);
  }
  if (value.is_big() && (by == 2 || by == -2)) return (value.digits().back() - '0') % 2 == rest;
  const int64_t left = by == -1 ? 0 : value.to_int() % by;
  return (left != 0 && (left < 0) != (by < 0) ? left + by : left) == rest;
}

std::optional<std::string_view> comparison(std::string_view name) {
  if (name == "eq" || name == "equalto" || name == "==") return "==";
  if (name == "ne" || name == "!=") return "!=";
  if (name == "lt" || name == "lessthan" || name == "<") return "<";
  if (name == "le" || name == "<=") return "<=";
  if (name == "gt" || name == "greaterthan" || name == ">") return ">";
  if (name == "ge" || name == ">=") return ">=";
  if (name == "in") return "in";
  return std::nullopt;
}

}  // namespace

bool apply_test(Work& work, std::string_view name, const Value& input, const Arguments& arguments) {
  work.spend(1);
  if (name == "defined") return !input.is_undefined();
  if (name == "undefined") return input.is_undefined();
  if (name == "escaped") return input.is_markup();
  if (name == "none") return input.is_none();
  if (name == "string") return input.is_string();
  if (name == "number") return input.is_number();
  if (name == "integer") return input.is_int() || input.is_big();
  if (name == "float") return input.is_float();
  if (name == "boolean") return input.is_bool();
  if (name == "true") return input.is_bool() && input.truth();
  if (name == "false") return input.is_bool() && !input.truth();
  if (name == "mapping") return input.is_mapping();
  if (name == "iterable") return is_iterable(input);
  if (name == "sequence") return is_sequence(input);
  if (name == "callable") return input.is_function();
  if (name == "odd") return has_remainder(input, 2, 1);
  if (name == "even") return has_remainder(input, 2, 0);
  if (name == "divisibleby") return has_remainder(input, arguments.want(0, "num").to_int(), 0);
  if (name == "upper" || name == "lower") {
    const std::string text = to_text(input);
    return change_case(text, name) == text && change_case(text, name == "upper" ? "lower" : "upper") != text;
  }
  if (name == "sameas") {
    const Value& other = arguments.want(0, "other");
    return std::string_view(input.type_name()) == other.type_name() && compare(work, "==", input, other);
  }
  if (const auto op = comparison(name)) return compare(work, *op, input, arguments.want(0, "other"));
  throw TemplateError(fmt::format("no test named '{}'", shown(name)));
}

}  // namespace r1::jinja
