#include "model/config_fields.h"

#include <fmt/format.h>

#include <charconv>

namespace r1 {

const Json* given_field(const Json& json, std::string_view key) {
  const Json* field = json.find(key);
  return field == nullptr || field->is_null() ? nullptr : field;
}

void fail_field(const Json& json, std::string_view key, int64_t value, std::string_view reason) {
  if (const Json* field = given_field(json, key)) field->fail(reason);
  json.fail(fmt::format("has no {}; transformers' default, {}, {}", key, value, reason));
}

int64_t whole_field(const Json& field, int64_t low, int64_t high) {
  // A number larger than int64 is a double here.
  const double value = field.number();
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)))
    field.fail(fmt::format("is {}; it must be between {} and {}", field.dump(), low, high));
  return field.integer();
}

int64_t whole_field_or(const Json& json, std::string_view key, int64_t fallback, int64_t low, int64_t high) {
  const Json* field = given_field(json, key);
  return field == nullptr ? fallback : whole_field(*field, low, high);
}

int64_t size_field(const Json& json, std::string_view key, int64_t fallback, ModelConfig& config,
                   int64_t most) {
  if (const Json* field = given_field(json, key)) return whole_field(*field, 1, most);
  config.assumed.push_back(fmt::format("{} = {}", key, fallback));
  return fallback;
}

float small_field_or(const Json& json, std::string_view key, double fallback, double limit) {
  const double value = json.get_number_or(key, fallback);
  if (!(value >= 0.0 && value <= limit))
    json.at(key).fail(fmt::format("is {}; it must be between 0 and {}", value, limit));
  return static_cast<float>(value);
}

double shortest_decimal(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double out = 0;
  std::from_chars(text, end, out);
  return out;
}

}  // namespace r1
