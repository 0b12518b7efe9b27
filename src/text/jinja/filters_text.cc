// Filters that read their input as text, and the str methods that they share with methods.cc.
#include <fmt/format.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "base/ascii.h"
#include "base/text_util.h"
#include "text/jinja/lexer.h"
#include "text/jinja/operations.h"
#include "text/utf8.h"

namespace r1::jinja {

std::string strip(std::string_view text, const Value* characters, bool left, bool right) {
  std::u32string set;
  const bool spaces = characters == nullptr || characters->is_none();
  if (!spaces) {
    if (!characters->is_string())
      throw TemplateError(fmt::format("strip wants a string, not {}", characters->type_name()));
    const std::string& chars = characters->string();
    for (size_t at = 0; at < chars.size(); at += decode_utf8(chars, at).size)
      set += decode_utf8(chars, at).code;
  }
  const auto goes = [&](char32_t code) {
    if (!spaces) return set.find(code) != std::u32string::npos;
    return is_python_space(code);
  };
  while (left && !text.empty()) {
    const Utf8Step step = decode_utf8(text, 0);
    if (!goes(step.code)) break;
    text.remove_prefix(step.size);
  }
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xC0) == 0x80) --last;
    if (!goes(decode_utf8(text, last).code)) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

std::string replace(Work& work, std::string_view text, std::string_view from, std::string_view to,
                    int64_t count) {
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // inserts before every character and at the end
    for (int64_t done = 0; count < 0 || done < count; ++done) {
      out += to;
      work.spend_bytes(to.size());
      if (out.size() > Work::kMaxText) work.reserve(out.size());
      if (at >= text.size()) return out;
      const int size = decode_utf8(text, at).size;
      out += text.substr(at, size);
      at += size;
    }
    return out.append(text.substr(at));
  }
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at)).append(to);
    if (out.size() > Work::kMaxText) work.reserve(out.size());
    at = found + from.size();
  }
  return out.append(text.substr(at));
}

std::string change_case(std::string_view text, std::string_view how) {
  const auto whole = [](std::string_view part, bool upper) {
    icu::UnicodeString wide =
        icu::UnicodeString::fromUTF8(icu::StringPiece(part.data(), static_cast<int32_t>(part.size())));
    upper ? wide.toUpper(icu::Locale::getRoot()) : wide.toLower(icu::Locale::getRoot());
    std::string out;
    wide.toUTF8String(out);
    return out;
  };
  if (how == "upper" || how == "lower") return whole(text, how == "upper");
  const auto title = [](char32_t code, std::string& out) {
    append_utf8(out, static_cast<char32_t>(u_totitle(static_cast<UChar32>(code))));
  };
  std::string out;
  if (how == "capitalize") {
    if (text.empty()) return out;
    const Utf8Step first = decode_utf8(text, 0);
    title(first.code, out);
    return out + whole(text.substr(first.size), false);
  }
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const bool is_letter = u_isalpha(static_cast<UChar32>(step.code));
    if (is_letter && !in_word) {
      title(step.code, out);
    } else {
      append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(step.code))));
    }
    in_word = is_letter;
    at += step.size;
  }
  return out;
}

std::string case_folded(std::string_view text) {
  std::string out;
  icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())))
      .foldCase()
      .toUTF8String(out);
  return out;
}

namespace {

// Unlike str.title, Jinja's title filter begins words only after white space, hyphens and opening brackets.
std::string title_words(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    bool between = false;
    while (end < text.size()) {
      const Utf8Step step = decode_utf8(text, end);
      const bool is_between =
          u_isUWhiteSpace(static_cast<UChar32>(step.code)) ||
          (step.code < 0x80 &&
           std::string_view("-({[<").find(static_cast<char>(step.code)) != std::string_view::npos);
      if (end == at) between = is_between;
      if (is_between != between) break;
      end += step.size;
    }
    const std::string_view part = text.substr(at, end - at);
    out += between ? std::string(part) : change_case(part, "capitalize");
    at = end;
  }
  return out;
}

std::string indent(Work& work, const std::string& text, const Arguments& arguments) {
  const Value* width = arguments.find(0, "width");
  std::string margin(4, ' ');
  if (width != nullptr && width->is_string()) {
    margin = width->string();
  } else if (width != nullptr) {
    margin = std::string(static_cast<size_t>(std::clamp<int64_t>(width->to_int(), 0, 1000)), ' ');
  }
  const auto flag = [&](size_t index, std::string_view name) {
    const Value* value = arguments.find(index, name);
    return value != nullptr && value->truth();
  };
  const bool first = flag(1, "first");
  const bool blank = flag(2, "blank");
  std::string out = first ? margin : "";
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (at > 0 && (end > at || blank)) out += margin;
    out.append(text, at, end - at);
    if (end < text.size()) out += '\n';
    work.spend(1);
    if (out.size() > Work::kMaxText) work.reserve(out.size());
    at = end + 1;
  }
  return out;
}

// Returns the first `length` characters, cut at a word's end unless killwords is set. `end` replaces the
// rest.
std::string truncate(const std::string& text, const Arguments& arguments) {
  const auto number = [&](size_t index, std::string_view name, int64_t fallback) {
    const Value* value = arguments.find(index, name);
    return value == nullptr || value->is_none() ? fallback : value->to_int();
  };
  const int64_t length = number(0, "length", 255);
  const int64_t leeway = number(3, "leeway", 5);
  const Value* mark = arguments.find(2, "end");
  const std::string end = mark == nullptr ? "..." : to_text(*mark);
  const auto room = length - static_cast<int64_t>(length_of(end));
  if (room < 0 || leeway < 0) throw TemplateError("truncate: the length is less than that of the end");
  if (static_cast<int64_t>(length_of(text)) <= length + leeway) return text;
  std::string kept = text.substr(0, offset_of(text, static_cast<size_t>(room)));
  if (!arguments.flag(1, "killwords")) kept = kept.substr(0, kept.rfind(' '));
  return kept + end;
}

// Counts runs of letters, digits and underscores.
int64_t word_count(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const auto code = static_cast<UChar32>(step.code);
    const bool is_word = code == '_' || (U_GET_GC_MASK(code) & (U_GC_L_MASK | U_GC_N_MASK)) != 0;
    words += is_word && !inside ? 1 : 0;
    inside = is_word;
    at += step.size;
  }
  return words;
}

std::string url_quoted(std::string_view text, bool is_part_of_query) {
  std::string out;
  for (const char c : text) {
    const bool is_plain = is_letter(c) || is_digit(c) ||
                          std::string_view("_.-~").find(c) != std::string_view::npos ||
                          (c == '/' && !is_part_of_query);
    if (is_plain) {
      out += c;
    } else if (c == ' ' && is_part_of_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

// Encodes a text, or the pairs of a dict or a list: a=1&b=2.
std::string urlencode(Work& work, const Value& input) {
  work.reserve(3 * 16 * input.extent().weight);
  if (!input.is_list() && !input.is_mapping()) return url_quoted(to_text(input), false);
  std::string out;
  const auto put = [&](const Value& key, const Value& value) {
    out += (out.empty() ? "" : "&") + url_quoted(to_text(key), true) + "=" + url_quoted(to_text(value), true);
  };
  if (input.is_mapping()) {
    for (const auto& [key, value] : input.dict().items) put(key, value);
  } else {
    for (const Value& pair : input.list().items) {
      const std::vector<Value> both = iterate(work, pair);
      if (both.size() != 2) throw TemplateError("urlencode wants pairs");
      put(both[0], both[1]);
    }
  }
  return out;
}

Value format_filter(Work& work, const std::string& text, const Arguments& arguments) {
  if (arguments.named.empty()) {
    return work.text(format_percent(work, text, Value::list(arguments.positional, List::Kind::tuple)));
  }
  if (!arguments.positional.empty())
    throw TemplateError("format takes positional arguments or named ones, not both");
  auto named = std::make_shared<Dict>();
  for (const auto& [name, value] : arguments.named) named->set(Value::of(name), value);
  return work.text(format_percent(work, text, Value::of(std::move(named))));
}

Value tojson(Work& work, const Value& input, const Arguments& arguments) {
  if (input.is_undefined()) throw TemplateError("Object of type Undefined is not JSON serializable");
  JsonStyle style;
  if (const Value* ascii = arguments.find(0, "ensure_ascii")) style.ensure_ascii = ascii->truth();
  if (const Value* indent = arguments.find(1, "indent"); indent != nullptr && !indent->is_none()) {
    style.indent = indent->is_string()
                       ? indent->string()
                       : std::string(static_cast<size_t>(std::clamp<int64_t>(indent->to_int(), 0, 100)), ' ');
    if (style.indent->size() > 100) throw TemplateError("tojson: an indent of more than 100 characters");
    style.item_separator = ",";
  }
  if (const Value* both = arguments.find(2, "separators"); both != nullptr && !both->is_none()) {
    const auto separators = iterate(work, *both);
    if (separators.size() != 2) throw TemplateError("tojson: separators are two");
    style.item_separator = to_text(separators[0]);
    style.key_separator = to_text(separators[1]);
  }
  if (const Value* sort = arguments.find(3, "sort_keys")) style.sort_keys = sort->truth();
  work.spend(input.extent().weight * (1 + (style.indent ? style.indent->size() : 0) / 4));
  return work.text(to_json(input, style));
}

}  // namespace

bool apply_text_filter(Work& work, std::string_view name, const Value& input, const Arguments& arguments,
                       Value& out) {
  if (name == "tojson") {
    out = tojson(work, input, arguments);
    return true;
  }
  constexpr std::string_view kNames[] = {
      "string", "safe", "trim",        "upper",  "lower",  "capitalize", "title",     "replace",  "indent",
      "escape", "e",    "forceescape", "center", "format", "truncate",   "wordcount", "urlencode"};
  if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) return false;
  work.spend(input.extent().weight);
  const std::string text = to_text(input);
  work.reserve(text.size());
  if (name == "string") {
    out = input.is_markup() ? input : work.text(text);
  } else if (name == "safe") {
    out = Value::markup(text);
  } else if (name == "trim") {
    out = work.text(strip(text, arguments.find(0, "chars"), true, true));
  } else if (name == "replace") {
    const Value* count = arguments.find(2, "count");
    out = work.text(replace(work, text, to_text(arguments.want(0, "old")), to_text(arguments.want(1, "new")),
                            count == nullptr || count->is_none() ? -1 : count->to_int()));
  } else if (name == "indent") {
    if (!input.is_string())
      throw TemplateError(fmt::format("indent wants a string, not {}", input.type_name()));
    out = work.text(indent(work, text, arguments));
  } else if (name == "center") {
    Arguments width = arguments;
    if (width.find(0, "width") == nullptr) width.positional.push_back(Value::of(int64_t{80}));
    out = call_method(work, Value::of(text), "center", width);
  } else if (name == "format") {
    out = format_filter(work, text, arguments);
  } else if (name == "truncate") {
    if (!input.is_string() && !input.is_undefined())
      throw TemplateError(fmt::format("truncate wants a string, not {}", input.type_name()));
    out = work.text(truncate(text, arguments));
  } else if (name == "wordcount") {
    out = Value::of(word_count(text));
  } else if (name == "urlencode") {
    out = work.text(urlencode(work, input));
  } else if (name == "forceescape") {
    work.reserve(6 * text.size());
    out = Value::markup(html_escaped(text));
  } else if (name == "escape" || name == "e") {
    work.reserve(6 * text.size());
    out = Value::markup(input.is_markup() ? text : html_escaped(text));
  } else {
    out = work.text(name == "title" ? title_words(text) : change_case(text, name));
  }
  return true;
}

}  // namespace r1::jinja
