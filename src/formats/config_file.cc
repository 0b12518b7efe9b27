// formats/config_file.cc: the one translation unit that sees toml++.
#include "formats/config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

// toml++ asserts that "[# x" and its like never reach its key parser; they do. A file may not abort the
// program, so its assertions throw instead (with NDEBUG they would be assumptions).
namespace r1 {
namespace {
struct TomlAssertion {};
[[noreturn]] void toml_asserted() {
  throw TomlAssertion();
}
}  // namespace
}  // namespace r1
#undef NDEBUG
#define TOML_ASSERT(condition) ((condition) ? void() : ::r1::toml_asserted())
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/text_util.h"

namespace r1 {
namespace {

constexpr int kMaxDepth = 32;

struct Entry {
  Json value;  // scalars and arrays of scalars
  int64_t line = 0;
};

using Entries = std::map<std::string, Entry, std::less<>>;

Json scalar(const toml::node& node, const std::string& where) {
  if (const auto* v = node.as_string()) return Json(v->get());
  if (const auto* v = node.as_integer()) return Json(v->get());
  if (const auto* v = node.as_floating_point()) return Json(v->get());
  if (const auto* v = node.as_boolean()) return Json(v->get());
  throw Error(where + " is a date or time: strings, numbers, booleans, arrays and tables are wanted");
}

Json to_json(const toml::node& node, const std::string& where, int depth) {
  if (depth > kMaxDepth) throw Error(where + " is nested too deeply");
  if (const auto* table = node.as_table()) {
    Json json = Json::object();
    for (const auto& [key, value] : *table) json.set(key.str(), to_json(value, where, depth + 1));
    return json;
  }
  if (const auto* array = node.as_array()) {
    Json json = Json::array();
    for (const auto& value : *array) json.push_back(to_json(value, where, depth + 1));
    return json;
  }
  return scalar(node, where);
}

void flatten(const toml::node& node, const std::string& path, const std::string& source, int depth,
             Entries& out) {
  const int64_t line = node.source().begin.line;
  const std::string where = fmt::format("{}:{}: {}", source, line, path);
  if (depth > kMaxDepth) throw Error(where + " is nested too deeply");
  if (const auto* table = node.as_table()) {
    for (const auto& [key, value] : *table) {
      flatten(value, path.empty() ? std::string(key.str()) : path + "." + std::string(key.str()), source,
              depth + 1, out);
    }
    return;
  }
  const auto* array = node.as_array();
  if (array != nullptr && !array->empty() && array->is_array_of_tables()) {
    for (size_t i = 0; i < array->size(); ++i) {
      flatten((*array)[i], fmt::format("{}[{}]", path, i), source, depth + 1, out);
    }
    return;
  }
  out[path] = {to_json(node, where, depth), line};
}

// The line at which toml++ trips over `text`. It reads strictly forwards, so a prefix trips if it reaches
// that line.
int64_t asserting_line(std::string_view text) {
  std::vector<size_t> line_ends;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' || i + 1 == text.size()) line_ends.push_back(i + 1);
  }
  const auto trips = [&](size_t end) {
    try {
      (void)toml::parse(text.substr(0, end));
    } catch (const TomlAssertion&) {
      return true;
    } catch (const toml::parse_error&) {
    }
    return false;
  };
  const auto at =
      std::partition_point(line_ends.begin(), line_ends.end(), [&](size_t end) { return !trips(end); });
  return at - line_ends.begin() + 1;
}

}  // namespace

struct ConfigFile::Impl {
  std::string source;
  Entries entries;
  Json tree;
  std::set<std::string, std::less<>> asked;     // keys that somebody read
  std::set<std::string, std::less<>> subtrees;  // whole tables that somebody took

  const Entry* claim(std::string_view key) {
    asked.emplace(key);
    const auto at = entries.find(key);
    return at == entries.end() ? nullptr : &at->second;
  }
};

ConfigFile::ConfigFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConfigFile::ConfigFile(ConfigFile&&) noexcept = default;
ConfigFile& ConfigFile::operator=(ConfigFile&&) noexcept = default;
ConfigFile::~ConfigFile() = default;

ConfigFile ConfigFile::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

ConfigFile ConfigFile::parse(std::string_view text, const std::string& source) {
  auto impl = std::make_unique<Impl>();
  impl->source = source;
  try {
    const toml::table table = toml::parse(text, source);
    flatten(table, "", source, 0, impl->entries);
    impl->tree = r1::to_json(table, source, 0);
  } catch (const toml::parse_error& e) {
    std::string reason(e.description());
    for (char& c : reason) c = c == '\n' ? ' ' : c;
    throw Error(fmt::format("{}:{}: not valid TOML: {}", source, e.source().begin.line, reason));
  } catch (const TomlAssertion&) {
    throw Error(fmt::format("{}:{}: not valid TOML: a key is wanted here", source, asserting_line(text)));
  }
  return ConfigFile(std::move(impl));
}

bool ConfigFile::has(std::string_view key) const {
  const std::string table = std::string(key) + ".";
  const auto at = impl_->entries.lower_bound(table);
  return impl_->entries.contains(key) || (at != impl_->entries.end() && at->first.starts_with(table));
}

void ConfigFile::fail(std::string_view key, std::string_view reason) const {
  const auto at = impl_->entries.find(key);
  if (at == impl_->entries.end()) throw Error(fmt::format("{}: {} {}", impl_->source, key, reason));
  throw Error(fmt::format("{}:{}: {} {}", impl_->source, at->second.line, key, reason));
}

std::string ConfigFile::text(std::string_view key) {
  if (impl_->claim(key) == nullptr) fail(key, "is missing");
  return text_or(key, "");
}

std::string ConfigFile::text_or(std::string_view key, std::string_view fallback) {
  const Entry* entry = impl_->claim(key);
  if (entry == nullptr) return std::string(fallback);
  if (!entry->value.is_string()) fail(key, "is not a string");
  return entry->value.string();
}

std::string ConfigFile::choice_or(std::string_view key, std::string_view fallback,
                                  std::initializer_list<std::string_view> choices) {
  std::string value = text_or(key, fallback);
  std::string known;
  for (const std::string_view choice : choices) {
    if (value == choice) return value;
    known += (known.empty() ? "" : ", ") + std::string(choice);
  }
  fail(key, fmt::format("is \"{}\": one of {} is wanted", value, known));
}

int64_t ConfigFile::integer(std::string_view key, int64_t low, int64_t high) {
  if (impl_->claim(key) == nullptr) fail(key, "is missing");
  return integer_or(key, 0, low, high);
}

int64_t ConfigFile::integer_or(std::string_view key, int64_t fallback, int64_t low, int64_t high) {
  const Entry* entry = impl_->claim(key);
  if (entry == nullptr) return fallback;
  if (!entry->value.is_integer()) fail(key, "is not a whole number");
  const int64_t value = entry->value.integer();
  if (value < low || value > high) fail(key, fmt::format("is {}: {} to {} is wanted", value, low, high));
  return value;
}

double ConfigFile::number_or(std::string_view key, double fallback, double low, double high) {
  const Entry* entry = impl_->claim(key);
  if (entry == nullptr) return fallback;
  if (!entry->value.is_number()) fail(key, "is not a number");
  const double value = entry->value.number();
  if (!(value >= low && value <= high)) fail(key, fmt::format("is {}: {} to {} is wanted", value, low, high));
  return value;
}

bool ConfigFile::boolean_or(std::string_view key, bool fallback) {
  const Entry* entry = impl_->claim(key);
  if (entry == nullptr) return fallback;
  if (!entry->value.is_bool()) fail(key, "is not true or false");
  return entry->value.boolean();
}

std::vector<double> ConfigFile::numbers_or(std::string_view key, std::vector<double> fallback) {
  const Entry* entry = impl_->claim(key);
  if (entry == nullptr) return fallback;
  if (!entry->value.is_array()) fail(key, "is not an array of numbers");
  std::vector<double> values;
  for (const Json& item : entry->value.items()) {
    if (!item.is_number()) fail(key, "is not an array of numbers");
    values.push_back(item.number());
  }
  return values;
}

std::vector<std::string> ConfigFile::texts_or(std::string_view key, std::vector<std::string> fallback) {
  const Entry* entry = impl_->claim(key);
  if (entry == nullptr) return fallback;
  if (!entry->value.is_array()) fail(key, "is not an array of strings");
  std::vector<std::string> values;
  for (const Json& item : entry->value.items()) {
    if (!item.is_string()) fail(key, "is not an array of strings");
    values.push_back(item.string());
  }
  return values;
}

int64_t ConfigFile::array_size(std::string_view key) {
  impl_->asked.emplace(key);
  int64_t n = 0;
  while (has(fmt::format("{}[{}]", key, n))) ++n;
  return n;
}

Json ConfigFile::subtree(std::string_view key) {
  impl_->subtrees.insert(std::string(key) + ".");
  const Json* at = &impl_->tree;
  std::string_view rest = key;
  while (!rest.empty()) {
    const size_t dot = rest.find('.');
    if (!at->is_object()) return {};
    at = at->find(rest.substr(0, dot));
    if (at == nullptr) return {};
    rest = dot == std::string_view::npos ? "" : rest.substr(dot + 1);
  }
  return *at;
}

void ConfigFile::override_with(std::string_view key, Json value) {
  Entry& entry = impl_->entries[std::string(key)];
  entry.value = std::move(value);
}

void ConfigFile::finish() const {
  const std::vector<std::string> known(impl_->asked.begin(), impl_->asked.end());
  for (const auto& [key, entry] : impl_->entries) {
    if (impl_->asked.contains(key)) continue;
    bool taken = false;
    for (const std::string& table : impl_->subtrees) taken = taken || key.starts_with(table);
    if (taken) continue;
    const std::string near = nearest_name(key, known);
    throw Error(fmt::format("{}:{}: unknown key {}{}", impl_->source, entry.line, key,
                            near.empty() ? "" : fmt::format(" (did you mean {}?)", near)));
  }
}

const std::string& ConfigFile::source() const {
  return impl_->source;
}

std::string ConfigFile::fingerprint() const {
  std::string text;
  for (const auto& [key, entry] : impl_->entries) text += key + "=" + entry.value.dump() + "\n";
  return sha256_hex(text);
}

}  // namespace r1
