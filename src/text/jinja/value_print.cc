// Printing: Python's str, repr and json.dumps.
#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/value.h"
#include "text/utf8.h"

namespace r1::jinja {
namespace {

// Returns the shortest digits that are read back as the same value, in Python's layout: 1.0, 1e-05, 1.5e+16.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char scientific[40];
  const auto end =
      std::to_chars(scientific, scientific + sizeof scientific, value, std::chars_format::scientific).ptr;
  const std::string_view text(scientific, static_cast<size_t>(end - scientific));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits = text.data() + e + 1;
  std::from_chars(*digits == '+' ? digits + 1 : digits, end, exponent);
  if (exponent < -4 || exponent >= 16)
    return std::string(text);  // C++ and Python both write two exponent digits
  char fixed[64];
  const auto fixed_end = std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed).ptr;
  std::string out(fixed, fixed_end);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

bool is_printable(char32_t code) {
  if (code == ' ') return true;
  const uint32_t mask = U_GET_GC_MASK(static_cast<UChar32>(code));
  return (mask & (U_GC_Z_MASK | U_GC_C_MASK)) == 0;
}

std::string string_repr(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const char32_t code = step.code;
    if (code == static_cast<char32_t>(quote) || code == '\\') {
      out += '\\';
      out += static_cast<char>(code);
    } else if (code == '\n') {
      out += "\\n";
    } else if (code == '\r') {
      out += "\\r";
    } else if (code == '\t') {
      out += "\\t";
    } else if (is_printable(code)) {
      out.append(text, at, step.size);
    } else {
      const auto number = static_cast<uint32_t>(code);
      out += number < 0x100     ? fmt::format("\\x{:02x}", number)
             : number < 0x10000 ? fmt::format("\\u{:04x}", number)
                                : fmt::format("\\U{:08x}", number);
    }
    at += step.size;
  }
  return out + quote;
}

std::string items_repr(const std::vector<Value>& items) {
  std::string out;
  for (const Value& item : items) out += (out.empty() ? "" : ", ") + to_repr(item);
  return out;
}

std::string json_string(const std::string& text, bool ensure_ascii) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const auto code = static_cast<uint32_t>(step.code);
    constexpr std::string_view kNamed = "\"\\\n\r\t\b\f";
    constexpr std::string_view kNames = "\"\\nrtbf";
    const size_t named = code < 0x80 ? kNamed.find(static_cast<char>(code)) : std::string_view::npos;
    if (named != std::string_view::npos) {
      out += '\\';
      out += kNames[named];
    } else if (code < 0x20 || (ensure_ascii && code >= 0x7F && code < 0x10000)) {
      out += fmt::format("\\u{:04x}", code);
    } else if (ensure_ascii && code >= 0x10000) {
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                         0xDC00 + ((code - 0x10000) & 0x3FF));
    } else {
      out.append(text, at, step.size);
    }
    at += step.size;
  }
  return out + '"';
}

std::string json_key(const Value& key, const JsonStyle& style) {
  if (key.is_string()) return json_string(key.string(), style.ensure_ascii);
  if (key.is_none()) return "\"null\"";
  if (key.is_bool()) return key.truth() ? "\"true\"" : "\"false\"";
  if (key.is_number()) return "\"" + to_text(key) + "\"";
  throw TemplateError(fmt::format("a key of type {} cannot be written as JSON", key.type_name()));
}

std::string json_members(const Value& value, const JsonStyle& style, int depth) {
  const bool is_dict = value.is_dict();
  std::vector<std::string> members;
  if (is_dict) {
    auto items = value.dict().items;
    if (style.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return less(a.first, b.first); });
    }
    for (const auto& [key, item] : items) {
      members.push_back(json_key(key, style) + style.key_separator + to_json(item, style, depth + 1));
    }
  } else {
    for (const Value& item : value.list().items) members.push_back(to_json(item, style, depth + 1));
  }
  std::string out(1, is_dict ? '{' : '[');
  const auto line = [&](int level) {
    if (!style.indent) return;
    out += '\n';
    for (int i = 0; i < level; ++i) out += *style.indent;
  };
  for (size_t i = 0; i < members.size(); ++i) {
    if (i > 0) out += style.item_separator;
    line(depth + 1);
    out += members[i];
  }
  if (!members.empty()) line(depth);
  return out + (is_dict ? '}' : ']');
}

}  // namespace

std::string to_text(const Value& value) {
  if (value.is_string()) return value.string();
  if (value.is_undefined()) return {};
  return to_repr(value);
}

std::string to_repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.truth() ? "True" : "False";
  if (value.is_int()) return std::to_string(value.to_int());
  if (value.is_big()) return value.digits();
  if (value.is_float()) return float_text(value.to_double());
  if (value.is_markup()) return "Markup(" + string_repr(value.string()) + ")";
  if (value.is_string()) return string_repr(value.string());
  if (value.is_list()) {
    const List& list = value.list();
    switch (list.kind) {
      case List::Kind::list:
        return "[" + items_repr(list.items) + "]";
      case List::Kind::tuple:
        return "(" + items_repr(list.items) + (list.items.size() == 1 ? ",)" : ")");
      case List::Kind::view:
        return "dict_view([" + items_repr(list.items) + "])";
      case List::Kind::generator:
        return "<generator object>";
    }
  }
  if (value.is_mapping()) {
    std::string out;
    for (const auto& [key, item] : value.dict().items) {
      out += (out.empty() ? "" : ", ") + to_repr(key) + ": " + to_repr(item);
    }
    return "{" + out + "}";
  }
  return fmt::format("<{}>", value.type_name());
}

std::string to_json(const Value& value, const JsonStyle& style, int depth) {
  if (value.is_none()) return "null";
  if (value.is_bool()) return value.truth() ? "true" : "false";
  if (value.is_int()) return std::to_string(value.to_int());
  if (value.is_big()) return value.digits();
  if (value.is_float()) {
    const double number = value.to_double();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_text(number);
  }
  if (value.is_string()) return json_string(value.string(), style.ensure_ascii);
  const bool is_list =
      value.is_list() && (value.list().kind == List::Kind::list || value.list().kind == List::Kind::tuple);
  if (is_list || value.is_mapping()) return json_members(value, style, depth);
  throw TemplateError(fmt::format("Object of type {} is not JSON serializable", value.type_name()));
}

}  // namespace r1::jinja
