#include "formats/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text_util.h"
#include "formats/json_impl.h"
#include "formats/shown.h"

namespace r1 {

Json::Json() = default;
Json::Json(std::nullptr_t) {}
Json::Json(bool value) : value_(value) {}
Json::Json(int value) : value_(static_cast<int64_t>(value)) {}
Json::Json(long value) : value_(static_cast<int64_t>(value)) {}
Json::Json(long long value) : value_(static_cast<int64_t>(value)) {}
Json::Json(unsigned value) : value_(static_cast<int64_t>(value)) {}
Json::Json(unsigned long value) {
  if (value <= static_cast<unsigned long>(std::numeric_limits<int64_t>::max())) {
    value_ = static_cast<int64_t>(value);
  } else {
    value_ = static_cast<double>(value);
  }
}
Json::Json(double value) : value_(value) {}
Json::Json(std::string value) : value_(std::make_unique<std::string>(std::move(value))) {}
Json::Json(std::string_view value) : Json(std::string(value)) {}
Json::Json(const char* value) : Json(std::string(value)) {}
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;

Json::Json(const Json& other) : origin_(other.origin_), offset_(other.offset_) {
  switch (other.kind()) {
    case Kind::null:
      break;
    case Kind::boolean:
      value_ = std::get<bool>(other.value_);
      break;
    case Kind::integer:
      value_ = std::get<int64_t>(other.value_);
      break;
    case Kind::number:
      value_ = std::get<double>(other.value_);
      break;
    case Kind::string:
      value_ = std::make_unique<std::string>(other.string());
      break;
    case Kind::array:
      value_ = std::make_unique<std::vector<Json>>(other.items());
      break;
    case Kind::object:
      value_ = std::make_unique<Object>(other.fields());
      break;
  }
}

Json& Json::operator=(const Json& other) {
  Json copy(other);
  *this = std::move(copy);
  return *this;
}

Json Json::array() {
  Json out;
  out.value_ = std::make_unique<std::vector<Json>>();
  return out;
}

Json Json::object() {
  Json out;
  out.value_ = std::make_unique<Object>();
  return out;
}

std::string Json::source() const {
  return origin_ ? origin_->name : "";
}

std::string Json::path() const {
  return origin_ ? json_path_at({origin_->text.data(), origin_->length}, offset_) : "";
}

void Json::fail(std::string_view reason) const {
  const std::string field = path();
  throw Error(fmt::format("{}: {} {}", origin_ ? origin_->name : "JSON value",
                          field.empty() ? "the document" : shown(field), reason));
}

void Json::wrong_kind(std::string_view wanted) const {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "an integer", "a number with a fraction",
                                         "a string", "an array",  "an object"};
  const std::string_view written = number_text();
  const bool is_big =
      kind() == Kind::number && !written.empty() && written.find_first_of(".eE") == written.npos;
  fail(fmt::format("is {}; it must be {}", is_big ? "an integer beyond 64 bits" : kNames[value_.index()],
                   wanted));
}

bool Json::boolean() const {
  if (!is_bool()) wrong_kind("a boolean");
  return std::get<bool>(value_);
}

int64_t Json::integer() const {
  if (!is_integer()) wrong_kind("an integer of 64 bits");
  return std::get<int64_t>(value_);
}

double Json::number() const {
  if (is_integer()) return static_cast<double>(std::get<int64_t>(value_));
  if (kind() != Kind::number) wrong_kind("a number");
  const double value = std::get<double>(value_);
  if (!std::isfinite(value) && origin_) fail("is beyond the range of a double");
  return value;
}

std::string Json::literal() const {
  if (!is_number()) wrong_kind("a number");
  return dump();
}

const std::string& Json::string() const {
  if (!is_string()) wrong_kind("a string");
  return *std::get<std::unique_ptr<std::string>>(value_);
}

std::string_view Json::number_text() const {
  if (!is_number() || !origin_) return {};
  const std::string_view text = std::string_view(origin_->text.data(), origin_->length).substr(offset_);
  return text.substr(0, text.find_first_not_of("+-.0123456789eE"));
}

const std::vector<Json>& Json::items() const {
  if (!is_array()) wrong_kind("an array");
  return *std::get<std::unique_ptr<std::vector<Json>>>(value_);
}

const Json::Object& Json::fields() const {
  if (!is_object()) wrong_kind("an object");
  return *std::get<std::unique_ptr<Object>>(value_);
}

const std::vector<Json::Member>& Json::members() const {
  return fields().members;
}

size_t Json::size() const {
  if (is_array()) return items().size();
  if (!is_object()) wrong_kind("an array or an object");
  return members().size();
}

const Json* Json::find(std::string_view key) const {
  const Object& object = fields();
  if (object.sorted.empty()) {
    for (const Member& member : object.members) {
      if (member.first == key) return &member.second;
    }
    return nullptr;
  }
  const auto at = std::lower_bound(
      object.sorted.begin(), object.sorted.end(), key,
      [&](uint32_t i, std::string_view k) { return std::string_view(object.members[i].first) < k; });
  if (at == object.sorted.end() || object.members[*at].first != key) return nullptr;
  return &object.members[*at].second;
}

const Json& Json::at(std::string_view key) const {
  if (const Json* found = find(key)) return *found;
  std::vector<std::string> keys;
  for (const Member& member : members()) keys.push_back(member.first);
  const std::string nearest = nearest_name(key, keys);
  std::string parent = path();
  if (!parent.empty()) parent = shown(parent) + ".";
  throw Error(fmt::format("{}: field {}{} is missing{}", origin_ ? origin_->name : "JSON value", parent, key,
                          nearest.empty() ? "" : fmt::format(" (nearest: {})", shown(nearest))));
}

const Json& Json::at(size_t index) const {
  const std::vector<Json>& all = items();
  if (index >= all.size()) fail(fmt::format("has {} elements, no element {}", all.size(), index));
  return all[index];
}

bool Json::get_bool_or(std::string_view key, bool fallback) const {
  const Json* found = find(key);
  return found == nullptr || found->is_null() ? fallback : found->boolean();
}

int64_t Json::get_int_or(std::string_view key, int64_t fallback) const {
  const Json* found = find(key);
  return found == nullptr || found->is_null() ? fallback : found->integer();
}

double Json::get_number_or(std::string_view key, double fallback) const {
  const Json* found = find(key);
  return found == nullptr || found->is_null() ? fallback : found->number();
}

std::string Json::get_string_or(std::string_view key, std::string_view fallback) const {
  const Json* found = find(key);
  return found == nullptr || found->is_null() ? std::string(fallback) : found->string();
}

Json& Json::set(std::string_view key, Json value) {
  if (const Json* found = find(key)) {
    *const_cast<Json*>(found) = std::move(value);
    return *this;
  }
  Object& object = const_cast<Object&>(fields());
  object.sorted.clear();
  object.members.emplace_back(std::string(key), std::move(value));
  return *this;
}

Json& Json::push_back(Json value) {
  const_cast<std::vector<Json>&>(items()).push_back(std::move(value));
  return *this;
}

bool Json::operator==(const Json& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::null:
      return true;
    case Kind::boolean:
      return boolean() == other.boolean();
    case Kind::integer:
      return integer() == other.integer();
    case Kind::number:
      return std::get<double>(value_) == std::get<double>(other.value_);
    case Kind::string:
      return string() == other.string();
    case Kind::array:
      return items() == other.items();
    case Kind::object:
      break;
  }
  if (size() != other.size()) return false;
  return std::all_of(members().begin(), members().end(), [&](const Member& member) {
    const Json* twin = other.find(member.first);
    return twin != nullptr && *twin == member.second;
  });
}

std::vector<uint32_t> sorted_by_key(std::span<const Json::Member> members) {
  // An entry holds the key's first eight bytes, big-endian. They decide most comparisons without reading the
  // strings.
  struct Entry {
    uint64_t prefix;
    uint32_t index;
  };
  std::vector<Entry> entries(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    const std::string& key = members[i].first;
    uint64_t prefix = 0;
    for (size_t c = 0; c < 8; ++c)
      prefix = prefix << 8 | (c < key.size() ? static_cast<unsigned char>(key[c]) : 0);
    entries[i] = {prefix, static_cast<uint32_t>(i)};
  }
  std::sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    const int order = members[a.index].first.compare(members[b.index].first);
    return order != 0 ? order < 0 : a.index < b.index;
  });
  std::vector<uint32_t> sorted(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) sorted[i] = entries[i].index;
  return sorted;
}

std::string json_path_at(std::string_view text, size_t offset) {
  // `text` is well-formed. It is read in one pass with a stack of the open containers and the position in
  // each.
  struct Level {
    bool object;
    std::string_view key;
    size_t index = 0;
  };
  std::vector<Level> open;
  std::string_view last_string;
  for (size_t i = 0; i < offset && i < text.size(); ++i) {
    switch (text[i]) {
      case '"': {
        const size_t begin = ++i;
        while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
        last_string = text.substr(begin, std::min(i, text.size()) - begin);
        break;
      }
      case ':':
        open.back().key = last_string;
        break;
      case '{':
        open.push_back({true, {}});
        break;
      case '[':
        open.push_back({false, {}});
        break;
      case ',':
        ++open.back().index;
        break;
      case '}':
      case ']':
        open.pop_back();
        break;
      default:
        break;
    }
  }
  std::string path;
  for (const Level& level : open) {
    if (level.object) {
      path += path.empty() ? "" : ".";
      path += level.key;
    } else {
      path += fmt::format("[{}]", level.index);
    }
  }
  return path;
}

}  // namespace r1
