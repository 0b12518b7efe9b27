#include "server/request_fields.h"

#include <fmt/format.h>

namespace r1 {

RequestFields::RequestFields(const Json& object) : object_(object) {
  object.members();  // throws if it is no object
}

const Json* RequestFields::find(std::string_view name) {
  know(name);
  const Json* field = object_.find(name);
  return field == nullptr || field->is_null() ? nullptr : field;
}

bool RequestFields::boolean(std::string_view name, bool fallback) {
  const Json* field = find(name);
  return field == nullptr ? fallback : field->boolean();
}

std::optional<int64_t> RequestFields::integer(std::string_view name, int64_t low, int64_t high) {
  const Json* field = find(name);
  if (field == nullptr) return std::nullopt;
  const int64_t value = field->integer();
  if (value < low || value > high)
    field->fail(fmt::format("is {}; it must be between {} and {}", value, low, high));
  return value;
}

std::optional<std::string> RequestFields::text(std::string_view name) {
  const Json* field = find(name);
  return field == nullptr ? std::nullopt : std::optional(field->string());
}

std::vector<std::string> RequestFields::unknown() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.members()) {
    if (!known_.contains(name)) names.push_back(name);
  }
  return names;
}

}  // namespace r1
