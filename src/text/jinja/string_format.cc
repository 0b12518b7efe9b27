// Python's string formatting: "{:>4}".format(x), "%4d" % x, and the format specification that both use.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/ascii.h"
#include "formats/shown.h"
#include "text/jinja/operations.h"
#include "text/utf8.h"

namespace r1::jinja {
namespace {

constexpr size_t kMaxWidth = 1'000'000;
constexpr int kMaxPrecision = 1000;

struct Spec {
  std::string fill = " ";
  char align = '\0';  // one of < > ^ =, or none
  char sign = '-';
  bool alternate = false;
  char grouping = '\0';  // one of , _, or none
  size_t width = 0;
  int precision = -1;
  char type = '\0';
};

size_t read_number(std::string_view text, size_t& at, size_t most, const char* what) {
  size_t number = 0;
  while (at < text.size() && is_digit(text[at])) {
    number = number * 10 + static_cast<size_t>(text[at++] - '0');
    if (number > most) throw TemplateError(fmt::format("format: the {} is larger than {}", what, most));
  }
  return number;
}

// [[fill]align][sign][#][0][width][grouping][.precision][type]
Spec read_spec(std::string_view text) {
  constexpr std::string_view kAligns = "<>^=";
  Spec spec;
  size_t at = 0;
  const size_t first = text.empty() ? 0 : static_cast<size_t>(decode_utf8(text, 0).size);
  if (first < text.size() && kAligns.find(text[first]) != std::string_view::npos) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && kAligns.find(text[0]) != std::string_view::npos) {
    spec.align = text[0];
    at = 1;
  }
  const auto next = [&](std::string_view of) {
    return at < text.size() && of.find(text[at]) != std::string_view::npos ? text[at++] : '\0';
  };
  if (const char sign = next("+- ")) spec.sign = sign;
  spec.alternate = next("#") != '\0';
  if (at < text.size() && text[at] == '0' && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
    ++at;
  }
  spec.width = read_number(text, at, kMaxWidth, "width");
  spec.grouping = next(",_");
  if (next(".") != '\0') {
    if (at >= text.size() || !is_digit(text[at])) throw TemplateError("format: a precision is missing");
    spec.precision = static_cast<int>(read_number(text, at, kMaxPrecision, "precision"));
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) throw TemplateError(fmt::format("format: invalid specification '{}'", shown(text)));
  return spec;
}

std::string padded(Work& work, std::string sign, std::string body, const Spec& spec, char fallback) {
  const size_t size = length_of(sign) + length_of(body);
  if (size >= spec.width) return sign + body;
  const size_t missing = spec.width - size;
  work.reserve(missing * spec.fill.size() + body.size());
  const char align = spec.align == '\0' ? fallback : spec.align;
  const size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string left, right;
  for (size_t i = 0; i < missing; ++i) (i < before ? left : right) += spec.fill;
  return align == '=' ? sign + left + body : left + sign + body + right;
}

// Inserts separators between groups of `digits`, from the right. `body` may have a fraction.
std::string grouped(const std::string& body, char separator, size_t digits) {
  if (separator == '\0') return body;
  const size_t whole = std::min(body.find_first_not_of("0123456789abcdefABCDEF"), body.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % digits == 0) out += separator;
    out += body[i];
  }
  return out + body.substr(whole);
}

std::string sign_text(bool negative, char sign) {
  if (negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

std::string integer_text(Work& work, const Value& value, const Spec& spec) {
  std::string digits = to_text(value.is_bool() ? Value::of(value.to_int()) : value);
  const bool negative = digits.starts_with('-');
  if (negative) digits.erase(0, 1);
  std::string prefix;
  if (spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b') {
    const int64_t number = value.to_int();
    const uint64_t size = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    digits = spec.type == 'x'   ? fmt::format("{:x}", size)
             : spec.type == 'X' ? fmt::format("{:X}", size)
             : spec.type == 'o' ? fmt::format("{:o}", size)
                                : fmt::format("{:b}", size);
    if (spec.alternate) prefix = fmt::format("0{}", spec.type);
  } else if (spec.type == 'c') {
    const int64_t code = value.to_int();
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      throw TemplateError("format: %c wants a character's code");
    digits.clear();
    append_utf8(digits, static_cast<char32_t>(code));
    return padded(work, "", digits, spec, '<');
  }
  const bool decimal =
      prefix.empty() && spec.type != 'x' && spec.type != 'X' && spec.type != 'o' && spec.type != 'b';
  digits = grouped(digits, spec.grouping, decimal ? 3 : 4);
  return padded(work, sign_text(negative, spec.sign) + prefix, digits, spec, '>');
}

std::string float_text(Work& work, double number, const Spec& spec) {
  const bool upper = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
  const bool negative = std::signbit(number) && !std::isnan(number);
  const double size = std::abs(number);
  std::string body;
  if (!std::isfinite(number)) {
    body = std::isnan(number) ? "nan" : "inf";
  } else if (spec.type == '\0' && spec.precision < 0) {
    body = to_text(Value::of(size));
  } else {
    const int precision = spec.precision < 0 ? 6 : spec.precision;
    const double scaled = spec.type == '%' ? size * 100 : size;
    switch (spec.type) {
      case 'e':
      case 'E':
        body = fmt::format("{:.{}e}", scaled, precision);
        break;
      case 'f':
      case 'F':
      case '%':
        body = fmt::format("{:.{}f}", scaled, precision);
        break;
      default:
        body = fmt::format("{:.{}g}", scaled, std::max(precision, 1));
        // Without a type, a float keeps a digit after the point.
        if (spec.type == '\0' && body.find_first_of(".e") == std::string::npos) body += ".0";
    }
  }
  if (upper)
    std::transform(body.begin(), body.end(), body.begin(),
                   [](char c) { return 'a' <= c && c <= 'z' ? static_cast<char>(c - 32) : c; });
  body = grouped(body, std::isfinite(number) ? spec.grouping : '\0', 3);
  if (spec.type == '%') body += '%';
  return padded(work, sign_text(negative, spec.sign), body, spec, '>');
}

std::string text_with_spec(Work& work, std::string text, const Spec& spec) {
  if (spec.precision >= 0) text.resize(offset_of(text, static_cast<size_t>(spec.precision)));
  return padded(work, "", std::move(text), spec, '<');
}

std::string with_spec(Work& work, const Value& value, std::string_view text) {
  work.spend(value.extent().weight);
  if (text.empty()) return to_text(value);
  const Spec spec = read_spec(text);
  constexpr std::string_view kFloats = "eEfFgG%";
  const bool wants_float = spec.type != '\0' && kFloats.find(spec.type) != std::string_view::npos;
  if (value.is_number() && (value.is_float() || wants_float)) {
    if (spec.type != '\0' && !wants_float)
      throw TemplateError(fmt::format("format: unknown format code '{}' for a float", spec.type));
    return float_text(work, value.to_double(), spec);
  }
  if (value.is_number() && !(value.is_bool() && spec.type == '\0')) {
    if (spec.type != '\0' && std::string_view("dxXobcn").find(spec.type) == std::string_view::npos)
      throw TemplateError(fmt::format("format: unknown format code '{}' for an integer", spec.type));
    if (spec.precision >= 0) throw TemplateError("format: an integer has no precision");
    return integer_text(work, value, spec);
  }
  if (!value.is_string() && !value.is_bool()) {
    throw TemplateError(fmt::format("format: {} takes no format specification", value.type_name()));
  }
  if ((spec.type != '\0' && spec.type != 's') || spec.align == '=')
    throw TemplateError(fmt::format("format: '{}' does not fit a string", shown(text)));
  return text_with_spec(work, to_text(value), spec);
}

// Returns the value of "0.name[key]": an argument, its attributes and items.
Value field_value(Work& work, std::string_view field, const Arguments& arguments, size_t& next) {
  const size_t end = std::min(field.find_first_of(".["), field.size());
  const std::string name(field.substr(0, end));
  const bool is_number = !name.empty() && name.size() < 6 && std::all_of(name.begin(), name.end(), is_digit);
  const size_t index = name.empty() ? next++ : is_number ? std::stoul(name) : SIZE_MAX;
  const Value* found = arguments.find(index, name);
  if (found == nullptr) throw TemplateError(fmt::format("format: there is no argument {{{}}}", shown(name)));
  Value value = *found;
  for (size_t at = end; at < field.size();) {
    if (field[at] == '.') {
      const size_t stop = std::min(field.find_first_of(".[", at + 1), field.size());
      value = get_attribute(work, value, std::string(field.substr(at + 1, stop - at - 1)));
      at = stop;
    } else {
      const size_t stop = field.find(']', at);
      if (field[at] != '[' || stop == std::string_view::npos)
        throw TemplateError(fmt::format("format: malformed field {{{}}}", shown(field)));
      const std::string key(field.substr(at + 1, stop - at - 1));
      const bool digits = !key.empty() && key.size() < 10 && std::all_of(key.begin(), key.end(), is_digit);
      value = get_item(work, value, digits ? Value::of(int64_t{std::stoi(key)}) : Value::of(key));
      at = stop + 1;
    }
    if (value.is_undefined()) value.fail_undefined();
  }
  return value;
}

// Returns the end of the field that opens before `at`. Specifications may contain fields.
size_t field_end(std::string_view text, size_t at) {
  int open = 1;
  for (; at < text.size(); ++at) {
    if (text[at] == '{') ++open;
    if (text[at] == '}' && --open == 0) return at;
  }
  throw TemplateError("format: a { is not closed");
}

std::string formatted(Work& work, std::string_view text, const Arguments& arguments, size_t& next,
                      int depth) {
  if (depth > 2) throw TemplateError("format: fields are nested too deeply");
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c != '{' && c != '}') {
      out += c;
    } else if (at + 1 < text.size() && text[at + 1] == c) {
      out += c;
      ++at;
    } else if (c == '}') {
      throw TemplateError("format: a } is not opened");
    } else {
      const size_t end = field_end(text, at + 1);
      std::string_view field = text.substr(at + 1, end - at - 1);
      const size_t colon = std::min(field.find(':'), field.size());
      const size_t mark = std::min(field.substr(0, colon).find('!'), colon);
      Value value = field_value(work, field.substr(0, mark), arguments, next);
      if (mark < colon) {
        const std::string_view how = field.substr(mark + 1, colon - mark - 1);
        if (how != "s" && how != "r") throw TemplateError("format: a conversion is !s or !r");
        work.spend(value.extent().weight);
        value = Value::of(how == "s" ? to_text(value) : to_repr(value));
      }
      const std::string spec =
          colon < field.size() ? formatted(work, field.substr(colon + 1), arguments, next, depth + 1) : "";
      out += with_spec(work, value, spec);
      if (out.size() > Work::kMaxText) work.reserve(out.size());
      at = end;
    }
  }
  return out;
}

}  // namespace

std::string format_fields(Work& work, std::string_view text, const Arguments& arguments) {
  size_t next = 0;
  work.spend_bytes(text.size());
  return formatted(work, text, arguments, next, 0);
}

// %[(name)][flags][width][.precision]type
std::string format_percent(Work& work, std::string_view text, const Value& values) {
  const bool is_tuple = values.is_list() && values.list().kind == List::Kind::tuple;
  const std::vector<Value> given = is_tuple ? values.list().items : std::vector<Value>{values};
  size_t next = 0;
  bool named = false;
  const auto take = [&]() -> const Value& {
    if (next >= given.size()) throw TemplateError("not enough arguments for format string");
    return given[next++];
  };
  std::string out;
  work.spend_bytes(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '%') {
      out += text[at++];
      continue;
    }
    if (++at < text.size() && text[at] == '%') {
      out += text[at++];
      continue;
    }
    std::optional<Value> value;
    if (at < text.size() && text[at] == '(') {
      const size_t end = text.find(')', at);
      if (end == std::string_view::npos || !values.is_mapping())
        throw TemplateError("format requires a mapping");
      value = get_item(work, values, Value::of(std::string(text.substr(at + 1, end - at - 1))));
      if (value->is_undefined()) value->fail_undefined();
      named = true;
      at = end + 1;
    }
    Spec spec;
    for (; at < text.size() && std::string_view("-+ #0").find(text[at]) != std::string_view::npos; ++at) {
      if (text[at] == '-') spec.align = '<';
      if (text[at] == '+' || (text[at] == ' ' && spec.sign != '+')) spec.sign = text[at];
      if (text[at] == '#') spec.alternate = true;
      if (text[at] == '0' && spec.align == '\0') spec.align = '=';
    }
    spec.width = read_number(text, at, kMaxWidth, "width");
    if (at < text.size() && text[at] == '.')
      spec.precision = static_cast<int>(read_number(text, ++at, kMaxPrecision, "precision"));
    if (at >= text.size()) throw TemplateError("incomplete format");
    const char type = text[at++];
    if (!value) value = take();
    work.spend(value->extent().weight);
    if (spec.align == '=') spec.fill = "0";
    if (type == 's' || type == 'r') {
      if (spec.align != '<') spec.align = '>';
      spec.fill = " ";
      out += text_with_spec(work, type == 's' ? to_text(*value) : to_repr(*value), spec);
    } else if (std::string_view("diuxXoc").find(type) != std::string_view::npos && value->is_number()) {
      spec.type = type == 'i' || type == 'u' ? 'd' : type;
      const Value whole = value->is_float() && spec.type == 'd' ? truncated(value->to_double()) : *value;
      if (spec.align == '\0') spec.align = '>';
      std::string digits = integer_text(work, whole, spec);
      out += digits;
    } else if (std::string_view("eEfFgG").find(type) != std::string_view::npos && value->is_number()) {
      spec.type = type;
      out += float_text(work, value->to_double(), spec);
    } else {
      throw TemplateError(
          fmt::format("%{} does not fit {}", shown(std::string_view(&type, 1)), value->type_name()));
    }
    if (out.size() > Work::kMaxText) work.reserve(out.size());
  }
  if (next < given.size() && !named && !(values.is_mapping() || (values.is_list() && !is_tuple)))
    throw TemplateError("not all arguments converted during string formatting");
  return out;
}

}  // namespace r1::jinja
