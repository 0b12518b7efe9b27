// Methods of strings, dicts and lists. As in Hugging Face's immutable sandbox, methods that change a dict or
// a list are refused.
#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>

#include "text/jinja/lexer.h"
#include "text/jinja/operations.h"
#include "text/utf8.h"

namespace r1::jinja {
namespace {

constexpr std::string_view kStringMethods[] = {
    "split",     "rsplit",     "strip",     "lstrip",     "rstrip",       "startswith",   "endswith",
    "replace",   "upper",      "lower",     "title",      "capitalize",   "join",         "find",
    "rfind",     "index",      "count",     "format",     "isdigit",      "isalpha",      "isalnum",
    "isspace",   "isupper",    "islower",   "splitlines", "removeprefix", "removesuffix", "zfill",
    "partition", "rpartition", "isnumeric", "isdecimal",  "isascii",      "istitle",      "rindex",
    "center",    "ljust",      "rjust",     "casefold",   "swapcase",     "expandtabs",   "format_map"};
constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get", "copy"};
constexpr std::string_view kDictUnsafe[] = {"pop", "popitem", "update", "clear", "setdefault"};
constexpr std::string_view kListMethods[] = {"index", "count", "copy"};
constexpr std::string_view kListUnsafe[] = {"append", "extend",  "insert", "pop",
                                            "remove", "reverse", "sort",   "clear"};

template <size_t N>
bool is_among(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

const std::string& want_string(const Value& value) {
  if (value.is_undefined()) value.fail_undefined();
  if (!value.is_string())
    throw TemplateError(fmt::format("{} stands in the place of a string", value.type_name()));
  return value.string();
}

// Returns the words between white space. At most `most` cuts are made (-1: any number), from the left or the
// right.
std::vector<std::string> split_spaces(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::pair<size_t, size_t>> words;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    if (is_python_space(step.code)) {
      at += step.size;
      continue;
    }
    const size_t begin = at;
    while (at < text.size() && !is_python_space(decode_utf8(text, at).code)) at += decode_utf8(text, at).size;
    words.emplace_back(begin, at);
  }
  std::vector<std::string> out;
  const size_t whole = most < 0 ? words.size() : std::min(words.size(), static_cast<size_t>(most));
  const auto word = [&](size_t i) {
    return std::string(text.substr(words[i].first, words[i].second - words[i].first));
  };
  if (whole == words.size()) {
    for (size_t i = 0; i < words.size(); ++i) out.push_back(word(i));
  } else if (!from_right) {
    for (size_t i = 0; i < whole; ++i) out.push_back(word(i));
    out.push_back(strip(text.substr(words[whole].first), nullptr, false, words.size() == whole + 1));
  } else {
    const size_t rest = words.size() - whole;
    out.push_back(strip(text.substr(0, words[rest - 1].second), nullptr, rest == 1, false));
    for (size_t i = rest; i < words.size(); ++i) out.push_back(word(i));
  }
  return out;
}

std::vector<std::string> split_by(std::string_view text, std::string_view separator, int64_t most,
                                  bool from_right) {
  if (separator.empty()) throw TemplateError("empty separator");
  std::vector<std::string> out;
  while (most < 0 || static_cast<int64_t>(out.size()) < most) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    out.emplace_back(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
  }
  out.emplace_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const char32_t c = step.code;
    const bool is_end =
        (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    const size_t end = at;
    at += step.size;
    if (!is_end) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    out.emplace_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

Value to_list(Work& work, std::vector<std::string> texts) {
  std::vector<Value> items;
  items.reserve(texts.size());
  for (std::string& text : texts) {
    work.spend_bytes(text.size() + sizeof(Value));
    items.push_back(Value::of(std::move(text)));
  }
  return Value::list(std::move(items));
}

bool begins_or_ends(const std::string& text, const Value& with, bool begins) {
  if (with.is_list() && with.list().kind == List::Kind::tuple) {
    const auto& options = with.list().items;
    return std::any_of(options.begin(), options.end(),
                       [&](const Value& one) { return begins_or_ends(text, one, begins); });
  }
  return begins ? text.starts_with(want_string(with)) : text.ends_with(want_string(with));
}

bool all_of(const std::string& text, bool (*test)(char32_t)) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    if (!test(step.code)) return false;
    at += step.size;
  }
  return !text.empty();
}

Value is_kind(const std::string& text, std::string_view name) {
  const auto digit = [](char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER; };
  const auto alpha = [](char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; };
  const auto alnum = [](char32_t c) {
    return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_L_MASK | U_GC_N_MASK)) != 0;
  };
  if (name == "isdigit" || name == "isdecimal" || name == "isnumeric") return Value::of(all_of(text, digit));
  if (name == "isalpha") return Value::of(all_of(text, alpha));
  if (name == "isalnum") return Value::of(all_of(text, alnum));
  if (name == "isspace") return Value::of(all_of(text, is_python_space));
  if (name == "isascii") return Value::of(text.empty() || all_of(text, [](char32_t c) { return c < 0x80; }));
  if (name == "istitle")
    return Value::of(change_case(text, "title") == text && change_case(text, "lower") != text);
  const bool upper = name == "isupper";
  return Value::of(change_case(text, upper ? "upper" : "lower") == text &&
                   change_case(text, upper ? "lower" : "upper") != text);
}

// Returns text[start:end] as find and similar methods give it, and the number of code points before it.
std::pair<std::string_view, int64_t> range_of(const std::string& text, const Arguments& arguments) {
  const Value* start = arguments.find(1, "start");
  const Value* stop = arguments.find(2, "end");
  if (start == nullptr && stop == nullptr) return {text, 0};
  const auto size = static_cast<int64_t>(length_of(text));
  const auto bound = [&](const Value* value, int64_t fallback) {
    if (value == nullptr || value->is_none()) return fallback;
    const int64_t at = value->to_int();
    return at < 0 ? std::max<int64_t>(at + size, 0) : at;
  };
  const int64_t begin = bound(start, 0);
  const int64_t end = std::min(bound(stop, size), size);
  if (begin > end) return {{}, -1};
  const size_t from = offset_of(text, static_cast<size_t>(begin));
  const size_t to = offset_of(text, static_cast<size_t>(end));
  return {std::string_view(text).substr(from, to - from), begin};
}

Value find_text(const std::string& text, std::string_view name, const Arguments& arguments) {
  const std::string& wanted = want_string(arguments.want(0, "sub"));
  const auto [part, begin] = range_of(text, arguments);
  if (name == "count") {
    int64_t count = 0;
    if (begin < 0) return Value::of(count);
    if (wanted.empty()) return Value::of(static_cast<int64_t>(length_of(part)) + 1);
    for (size_t at = part.find(wanted); at != std::string::npos; at = part.find(wanted, at + wanted.size()))
      ++count;
    return Value::of(count);
  }
  const size_t at = begin < 0 ? std::string::npos : name[0] == 'r' ? part.rfind(wanted) : part.find(wanted);
  if (at == std::string::npos) {
    if (name.ends_with("index")) throw TemplateError("substring not found");
    return Value::of(int64_t{-1});
  }
  return Value::of(begin + static_cast<int64_t>(length_of(part.substr(0, at))));
}

// Implements center, ljust and rjust.
Value justified(Work& work, const std::string& text, std::string_view name, const Arguments& arguments) {
  const int64_t width = arguments.want(0, "width").to_int();
  const Value* given = arguments.find(1, "fillchar");
  const std::string fill = given == nullptr ? " " : want_string(*given);
  if (length_of(fill) != 1) throw TemplateError("the fill character must be exactly one character long");
  const auto size = static_cast<int64_t>(length_of(text));
  if (width <= size) return Value::of(text);
  if (width > static_cast<int64_t>(Work::kMaxText)) throw TemplateError("a text is larger than 8 MiB");
  const int64_t missing = width - size;
  work.reserve(static_cast<size_t>(missing) * fill.size() + text.size());
  const int64_t before = name == "ljust"   ? 0
                         : name == "rjust" ? missing
                                           : missing / 2 + (missing & width & 1);  // centres as CPython does
  std::string out;
  for (int64_t i = 0; i < before; ++i) out += fill;
  out += text;
  for (int64_t i = before; i < missing; ++i) out += fill;
  return work.text(std::move(out));
}

std::string swapped_case(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const std::string one = text.substr(at, step.size);
    out += change_case(one, u_isupper(static_cast<UChar32>(step.code)) ? "lower" : "upper");
    at += step.size;
  }
  return out;
}

std::string expanded_tabs(Work& work, const std::string& text, int64_t width) {
  if (width > 1000) throw TemplateError("expandtabs: more than 1000 columns");
  std::string out;
  int64_t column = 0;
  for (const char c : text) {
    if (c == '\t') {
      const int64_t spaces = width > 0 ? width - column % width : 0;
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
    } else {
      out += c;
      if ((c & 0xC0) != 0x80) column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    if (out.size() > Work::kMaxText) work.reserve(out.size());
  }
  return out;
}

Value split_method(Work& work, const std::string& text, std::string_view name, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "sep");
  const Value* most = arguments.find(1, "maxsplit");
  const int64_t cuts = most == nullptr ? -1 : most->to_int();
  const bool from_right = name == "rsplit";
  if (separator == nullptr || separator->is_none())
    return to_list(work, split_spaces(text, cuts, from_right));
  return to_list(work, split_by(text, want_string(*separator), cuts, from_right));
}

Value partition(const std::string& text, std::string_view name, const Arguments& arguments) {
  const std::string& separator = want_string(arguments.want(0, "sep"));
  if (separator.empty()) throw TemplateError("empty separator");
  const bool from_right = name == "rpartition";
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts;
  if (at != std::string::npos) {
    parts = {Value::of(text.substr(0, at)), Value::of(separator),
             Value::of(text.substr(at + separator.size()))};
  } else {
    parts = {Value::of(text), Value::of(std::string()), Value::of(std::string())};
    if (from_right) std::swap(parts[0], parts[2]);
  }
  return Value::list(std::move(parts), List::Kind::tuple);
}

Value string_method(Work& work, const std::string& text, std::string_view name, const Arguments& arguments) {
  work.spend_bytes(text.size());
  if (name == "split" || name == "rsplit") return split_method(work, text, name, arguments);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return work.text(strip(text, arguments.find(0, "chars"), name != "rstrip", name != "lstrip"));
  }
  if (name == "startswith" || name == "endswith") {
    const auto [part, begin] = range_of(text, arguments);
    return Value::of(begin >= 0 &&
                     begins_or_ends(std::string(part), arguments.want(0, "prefix"), name == "startswith"));
  }
  if (name == "replace") {
    const Value* count = arguments.find(2, "count");
    return work.text(replace(work, text, want_string(arguments.want(0, "old")),
                             want_string(arguments.want(1, "new")), count == nullptr ? -1 : count->to_int()));
  }
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize")
    return work.text(change_case(text, name));
  if (name == "join") {
    std::string out;
    bool first = true;
    for (const Value& item : iterate(work, arguments.want(0, "iterable"))) {
      if (!first) out += text;
      first = false;
      out += want_string(item);
      work.reserve(out.size());
    }
    return Value::of(std::move(out));
  }
  if (name == "find" || name == "rfind" || name == "index" || name == "rindex" || name == "count")
    return find_text(text, name, arguments);
  if (name == "format") return work.text(format_fields(work, text, arguments));
  if (name == "format_map") {
    const Value& fields = arguments.want(0, "mapping");
    if (!fields.is_mapping()) throw TemplateError("format_map wants a dict");
    Arguments named;
    for (const auto& [key, value] : fields.dict().items) named.named.emplace_back(to_text(key), value);
    work.reserve(named.named.size() * 2 * sizeof(Value));
    return work.text(format_fields(work, text, named));
  }
  if (name == "splitlines") {
    const Value* keep = arguments.find(0, "keepends");
    return to_list(work, split_lines(text, keep != nullptr && keep->truth()));
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string& part = want_string(arguments.want(0, "part"));
    const bool front = name == "removeprefix";
    if (part.empty() || !(front ? text.starts_with(part) : text.ends_with(part))) return Value::of(text);
    return work.text(front ? text.substr(part.size()) : text.substr(0, text.size() - part.size()));
  }
  if (name == "center" || name == "ljust" || name == "rjust") return justified(work, text, name, arguments);
  if (name == "casefold") return work.text(case_folded(text));
  if (name == "swapcase") return work.text(swapped_case(text));
  if (name == "expandtabs") {
    const Value* width = arguments.find(0, "tabsize");
    return work.text(expanded_tabs(work, text, width == nullptr ? 8 : width->to_int()));
  }
  if (name == "zfill") {
    const int64_t width = std::min<int64_t>(arguments.want(0, "width").to_int(), 1'000'000);
    const auto size = static_cast<int64_t>(length_of(text));
    const bool has_sign = text.starts_with('-') || text.starts_with('+');
    const std::string zeros(width > size ? static_cast<size_t>(width - size) : 0, '0');
    return work.text(has_sign ? text[0] + zeros + text.substr(1) : zeros + text);
  }
  if (name == "partition" || name == "rpartition") return partition(text, name, arguments);
  return is_kind(text, name);
}

Value dict_method(Work& work, const Value& object, std::string_view name, const Arguments& arguments) {
  const Dict& dict = object.dict();
  work.reserve(dict.items.size() * sizeof(Value));
  if (name == "get") {
    const Value* value = const_cast<Dict&>(dict).find(arguments.want(0, "key"));
    const Value* fallback = arguments.find(1, "default");
    return value != nullptr ? *value : fallback != nullptr ? *fallback : Value::none();
  }
  if (name == "copy") return Value::of(std::make_shared<Dict>(dict));
  std::vector<Value> items;
  for (const auto& [key, value] : dict.items) {
    items.push_back(name == "keys"     ? key
                    : name == "values" ? value
                                       : Value::list({key, value}, List::Kind::tuple));
  }
  return Value::list(std::move(items), List::Kind::view);
}

Value list_method(Work& work, const Value& object, std::string_view name, const Arguments& arguments) {
  const auto& items = object.list().items;
  work.reserve(items.size() * sizeof(Value));
  work.spend(object.extent().weight / 4);
  if (name == "copy") return Value::list(items);
  const Value& wanted = arguments.want(0, "value");
  if (name == "count") {
    return Value::of(static_cast<int64_t>(
        std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, wanted); })));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], wanted)) return Value::of(static_cast<int64_t>(i));
  }
  throw TemplateError("the value is not in the list");
}

}  // namespace

bool has_method(const Value& object, std::string_view name) {
  if (object.is_string()) return is_among(kStringMethods, name);
  const auto check_safe = [&](bool unsafe) {
    if (unsafe) {
      throw TemplateError(
          fmt::format("access to attribute '{}' of '{}' object is unsafe", name, object.type_name()));
    }
  };
  if (object.is_mapping()) {
    check_safe(is_among(kDictUnsafe, name));
    return is_among(kDictMethods, name);
  }
  if (object.is_list() && object.list().kind == List::Kind::list) {
    check_safe(is_among(kListUnsafe, name));
    return is_among(kListMethods, name);
  }
  return object.is_list() && object.list().kind == List::Kind::tuple && (name == "index" || name == "count");
}

Value call_method(Work& work, const Value& object, std::string_view name, const Arguments& arguments) {
  if (object.is_string()) return string_method(work, object.string(), name, arguments);
  return object.is_dict() ? dict_method(work, object, name, arguments)
                          : list_method(work, object, name, arguments);
}

}  // namespace r1::jinja
