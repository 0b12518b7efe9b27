#include <charconv>
#include <cmath>

#include "formats/json.h"
#include "formats/json_impl.h"

namespace r1 {

size_t utf8_length(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  const unsigned lead = byte(i);
  const unsigned second = byte(i + 1);
  size_t length = 0;
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) length = 2;
  if (lead >= 0xE0 && lead < 0xF0) {
    const bool overlong = lead == 0xE0 && second < 0xA0;
    const bool surrogate = lead == 0xED && second >= 0xA0;
    length = overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xF0 && lead < 0xF5) {
    const bool overlong = lead == 0xF0 && second < 0x90;
    const bool beyond = lead == 0xF4 && second >= 0x90;
    length = overlong || beyond ? 0 : 4;
  }
  for (size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  }
  return length;
}

namespace {

void dump_string(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text, i);
    if (length == 0) {
      out += "\xEF\xBF\xBD";  // U+FFFD
      ++i;
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += text[i];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c < 0x20) {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += text.substr(i, length);
    }
    i += length;
  }
  out += '"';
}

void dump_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char text[32];
  const std::string_view shortest(
      text, static_cast<size_t>(std::to_chars(text, text + sizeof(text), value).ptr - text));
  out += shortest;
  if (shortest.find_first_of(".e") == std::string_view::npos) out += ".0";  // to be read as a double
}

void dump_value(const Json& json, int indent, int level, std::string& out);

bool all_scalars(const std::vector<Json>& items) {
  for (const Json& item : items) {
    if (item.is_array() || item.is_object()) return false;
  }
  return true;
}

void new_line(int indent, int level, std::string& out) {
  if (indent == 0) return;
  out += '\n';
  out.append(static_cast<size_t>(indent * level), ' ');
}

void dump_array(const std::vector<Json>& items, int indent, int level, std::string& out) {
  const bool one_line = indent == 0 || all_scalars(items);
  out += '[';
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += one_line && indent > 0 ? ", " : ",";
    if (!one_line) new_line(indent, level + 1, out);
    dump_value(items[i], indent, level + 1, out);
  }
  if (!one_line) new_line(indent, level, out);
  out += ']';
}

void dump_object(const std::vector<Json::Member>& members, int indent, int level, std::string& out) {
  out += '{';
  for (size_t i = 0; i < members.size(); ++i) {
    if (i > 0) out += ',';
    new_line(indent, level + 1, out);
    dump_string(members[i].first, out);
    out += indent > 0 ? ": " : ":";
    dump_value(members[i].second, indent, level + 1, out);
  }
  if (!members.empty()) new_line(indent, level, out);
  out += '}';
}

void dump_value(const Json& json, int indent, int level, std::string& out) {
  switch (json.kind()) {
    case Json::Kind::null:
      out += "null";
      return;
    case Json::Kind::boolean:
      out += json.boolean() ? "true" : "false";
      return;
    case Json::Kind::integer:
    case Json::Kind::number:
      if (const std::string_view text = json.number_text(); !text.empty()) {
        out += text;
      } else if (json.is_integer()) {
        out += std::to_string(json.integer());
      } else {
        dump_double(json.number(), out);
      }
      return;
    case Json::Kind::string:
      return dump_string(json.string(), out);
    case Json::Kind::array:
      return dump_array(json.items(), indent, level, out);
    case Json::Kind::object:
      return dump_object(json.members(), indent, level, out);
  }
}

}  // namespace

std::string Json::dump(int indent) const {
  std::string out;
  dump_value(*this, indent, 0, out);
  return out;
}

}  // namespace r1
