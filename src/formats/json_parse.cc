// formats/json_parse.cc: converts text to Json with simdjson's on-demand parser.
//
// The on-demand parser checks only the values that are visited. Every value is visited here, so everything is
// checked. Numbers and literals are read from their raw tokens. That keeps integers beyond 64 bits, which
// simdjson refuses, and leaves one grammar to test.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/json_impl.h"
#include "formats/shown.h"

namespace r1 {

namespace {

namespace sj = simdjson;

constexpr size_t kKeepParserBytes = size_t{1} << 20;  // a thread does not keep a larger parser

// True if `token` is a number of RFC 8259. Sets `integral` if it has neither fraction nor exponent.
bool is_json_number(std::string_view token, bool& integral) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < token.size() && is_digit(token[i])) ++i;
    return i - begin;
  };
  if (i < token.size() && token[i] == '-') ++i;
  const size_t first = i;
  const size_t whole = digits();
  if (whole == 0 || (whole > 1 && token[first] == '0')) return false;
  integral = i == token.size();
  if (i < token.size() && token[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < token.size() && (token[i] == 'e' || token[i] == 'E')) {
    ++i;
    if (i < token.size() && (token[i] == '+' || token[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == token.size();
}

size_t first_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0) return i;
    i += length;
  }
  return text.size();
}

// Returns the first control character inside a string, or the quote of a string that does not end.
size_t first_bad_string(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '"') continue;
    const size_t begin = i++;
    while (i < text.size() && text[i] != '"') {
      if (static_cast<unsigned char>(text[i]) < 0x20) return i;
      i += text[i] == '\\' ? 2 : 1;
    }
    if (i >= text.size()) return begin;
  }
  return text.size();
}

}  // namespace

class JsonParser {
 public:
  JsonParser(std::string_view text, std::string source) {
    if (text.size() > kMaxJsonBytes) {
      throw Error(
          fmt::format("{}: is {} bytes of JSON, at most {} are read", source, text.size(), kMaxJsonBytes));
    }
    auto origin = std::make_shared<Json::Origin>();
    origin->name = std::move(source);
    origin->length = text.size();
    origin->text.reserve(text.size() + sj::SIMDJSON_PADDING);
    origin->text.assign(text);
    origin->text.append(sj::SIMDJSON_PADDING, ' ');
    origin_ = std::move(origin);
  }

  Json parse(sj::ondemand::parser& parser) {
    const std::string& text = origin_->text;
    sj::ondemand::document document;
    check(parser.iterate(text.data(), origin_->length, text.size()).get(document));
    document_ = &document;
    const std::string_view token = token_of(document);
    Json out;
    if (token.front() == '{' || token.front() == '[' || token.front() == '"') {
      out = value(document, 0);
      const char* more = nullptr;
      if (document.current_location().get(more) == sj::SUCCESS)
        fail_here("there is more text after the JSON value");
    } else {  // nothing may follow a scalar, so its token is the rest of the text
      const size_t begin = static_cast<size_t>(token.data() - text.data());
      out = scalar(trim({token.data(), origin_->length - begin}));
    }
    return out;
  }

 private:
  [[noreturn]] void fail_at(size_t offset, std::string_view reason) const {
    throw Error(fmt::format("{}: offset {}: {}", origin_->name, std::min(offset, origin_->length), reason));
  }

  // Returns the parser's position, or the end of the text if it is unknown.
  size_t here() const {
    const char* at = nullptr;
    if (document_ == nullptr || document_->current_location().get(at) != sj::SUCCESS) return origin_->length;
    return static_cast<size_t>(at - origin_->text.data());
  }

  [[noreturn]] void fail_here(std::string_view reason) const { fail_at(here(), reason); }

  void check(sj::error_code code) const {
    if (code == sj::SUCCESS) [[likely]]
      return;
    const std::string_view text(origin_->text.data(), origin_->length);
    switch (code) {
      case sj::EMPTY:
        fail_at(0, "the text is empty; it must be a JSON value");
      case sj::UTF8_ERROR:
        fail_at(first_invalid_utf8(text), "invalid UTF-8");
      case sj::UNCLOSED_STRING:
        fail_at(first_bad_string(text), "a string does not end");
      case sj::UNESCAPED_CHARS:
        fail_at(first_bad_string(text), "a control character inside a string is not escaped");
      case sj::STRING_ERROR:
        fail_here("a string has a bad escape");
      case sj::INCOMPLETE_ARRAY_OR_OBJECT:
        fail_here("the array or object does not end where the text does");
      case sj::MEMALLOC:
        throw std::bad_alloc();
      default:
        fail_here("malformed JSON");
    }
  }

  static std::string_view token_of(sj::ondemand::value& node) { return node.raw_json_token(); }
  std::string_view token_of(sj::ondemand::document& node) const {
    std::string_view token;
    check(node.raw_json_token().get(token));
    return token;
  }

  template <class Node>  // a simdjson value, or the document itself
  Json value(Node& node, int depth) {
    if (++values_ > kMaxJsonValues) fail_here(fmt::format("more than {} values", kMaxJsonValues));
    const std::string_view token = token_of(node);
    const size_t offset = static_cast<size_t>(token.data() - origin_->text.data());
    Json out;
    switch (token.front()) {
      case '{':
        out = object(node, depth + 1);
        break;
      case '[':
        out = array(node, depth + 1);
        break;
      case '"': {
        std::string_view text;
        if (node.get_string().get(text) != sj::SUCCESS) fail_at(offset, "a string has a bad escape");
        out = Json(text);
        break;
      }
      default:
        return scalar(trim(token));
    }
    out.origin_ = origin_;
    out.offset_ = static_cast<uint32_t>(offset);
    return out;
  }

  Json scalar(std::string_view token) {
    const size_t offset = static_cast<size_t>(token.data() - origin_->text.data());
    Json out;
    bool integral = false;
    if (token == "true" || token == "false") {
      out = Json(token == "true");
    } else if (is_json_number(token, integral)) {
      out = number(token, integral);
    } else if (token != "null") {
      fail_at(offset,
              fmt::format("malformed JSON: a value cannot start with \"{}\"", shown(token.substr(0, 20))));
    }
    out.origin_ = origin_;
    out.offset_ = static_cast<uint32_t>(offset);
    return out;
  }

  static Json number(std::string_view token, bool integral) {
    const char* end = token.data() + token.size();
    if (integral) {
      int64_t value = 0;
      if (std::from_chars(token.data(), end, value).ec == std::errc())
        return Json(static_cast<long long>(value));
    }
    double value = 0;
    const auto [at, ec] = std::from_chars(token.data(), end, value);
    if (ec == std::errc::result_out_of_range) {
      // The value is out of range. from_chars does not distinguish overflow from underflow. strtod does: it
      // returns an infinity, or 0 or a subnormal.
      value = std::strtod(std::string(token).c_str(), nullptr);
    }
    return Json(value);
  }

  template <class Node>
  Json array(Node& node, int depth) {
    if (depth > kMaxJsonDepth) fail_here(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    sj::ondemand::array items;
    check(node.get_array().get(items));
    auto out = std::make_unique<std::vector<Json>>();
    for (auto item : items) {
      sj::ondemand::value element;
      check(item.get(element));
      out->push_back(value(element, depth));
    }
    Json json;
    json.value_ = std::move(out);
    return json;
  }

  template <class Node>
  Json object(Node& node, int depth) {
    if (depth > kMaxJsonDepth) fail_here(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    sj::ondemand::object fields;
    check(node.get_object().get(fields));
    auto out = std::make_unique<Json::Object>();
    for (auto item : fields) {
      sj::ondemand::field field;
      check(std::move(item).get(field));
      std::string_view key;
      check(field.unescaped_key().get(key));
      sj::ondemand::value child = field.value();
      std::string owned(key);
      if (out->members.size() < kIndexedMembers) refuse_duplicate(out->members, owned);
      out->members.emplace_back(std::move(owned), value(child, depth));
    }
    if (out->members.size() >= kIndexedMembers) {
      out->sorted = sorted_by_key(out->members);
      for (size_t i = 1; i < out->sorted.size(); ++i) {
        const Json::Member& member = out->members[out->sorted[i]];
        if (member.first == out->members[out->sorted[i - 1]].first)
          duplicate(member.second.offset_, member.first);
      }
    }
    Json json;
    json.value_ = std::move(out);
    return json;
  }

  void refuse_duplicate(const std::vector<Json::Member>& members, const std::string& key) const {
    for (const Json::Member& member : members) {
      if (member.first == key) duplicate(here(), key);
    }
  }

  [[noreturn]] void duplicate(size_t offset, const std::string& key) const {
    fail_at(offset, fmt::format("key \"{}\" appears twice in one object", shown(key)));
  }

  std::shared_ptr<const Json::Origin> origin_;
  sj::ondemand::document* document_ = nullptr;
  size_t values_ = 0;
};

Json parse_json(std::string_view text, std::string source_name) {
  if (text.size() > kKeepParserBytes) {
    sj::ondemand::parser parser;
    return JsonParser(text, std::move(source_name)).parse(parser);
  }
  thread_local sj::ondemand::parser parser;
  return JsonParser(text, std::move(source_name)).parse(parser);
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

}  // namespace r1
