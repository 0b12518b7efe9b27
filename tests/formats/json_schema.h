// tests/formats/json_schema.h: a validator of JSON schemas (draft 2020-12), as far as ours need it. An
// unknown keyword fails the test.
#pragma once

#include <algorithm>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/json.h"

namespace r1::test {

class SchemaValidator {
 public:
  explicit SchemaValidator(const Json& root) : root_(root) {}

  // Returns "" or the first violation: its place and the reason.
  std::string check(const Json& value) const { return check(root_, value, "$"); }

 private:
  using Text = std::string;

  Text check(const Json& schema, const Json& value, const Text& at) const {
    if (schema.is_bool()) return schema.boolean() ? "" : at + " may not be there";
    for (const auto& [keyword, wanted] : schema.members()) {
      const Text error = keyword_error(schema, keyword, wanted, value, at);
      if (!error.empty()) return error;
    }
    return "";
  }

  Text keyword_error(const Json& schema, const Text& keyword, const Json& wanted, const Json& value,
                     const Text& at) const {
    static const std::set<Text> kSaysNothing = {"$schema", "$defs", "title", "description",
                                                "default", "then",  "else",  "patternProperties"};
    if (keyword == "$ref") return check(definition(wanted.string()), value, at);
    if (keyword == "type") return type_error(wanted, value, at);
    if (keyword == "enum") return any_equal(wanted.items(), value) ? "" : at + " is none of " + wanted.dump();
    if (keyword == "const") return wanted == value ? "" : at + " is not " + wanted.dump();
    if (keyword == "anyOf" || keyword == "oneOf") return choice_error(keyword, wanted, value, at);
    if (keyword == "if") return branch_error(schema, wanted, value, at);
    if (keyword == "required") return missing_error(wanted, value, at);
    if (keyword == "properties") return properties_error(wanted, value, at);
    if (keyword == "additionalProperties") return additional_error(schema, wanted, value, at);
    if (keyword == "items" || keyword == "minItems" || keyword == "maxItems")
      return array_error(keyword, wanted, value, at);
    if (keyword == "minimum" || keyword == "maximum" || keyword == "exclusiveMinimum")
      return bound_error(keyword, wanted, value, at);
    if (keyword == "pattern") {
      if (!value.is_string() || std::regex_search(value.string(), std::regex(wanted.string()))) return "";
      return at + " does not match " + wanted.string();
    }
    return kSaysNothing.contains(keyword) ? "" : "this validator does not know the keyword " + keyword;
  }

  const Json& definition(const Text& reference) const {
    constexpr std::string_view kStart = "#/$defs/";
    R1_CHECK(reference.starts_with(kStart), reference);
    return root_.at("$defs").at(reference.substr(kStart.size()));
  }

  static bool is_type(const Text& type, const Json& v) {
    return (type == "null" && v.is_null()) || (type == "boolean" && v.is_bool()) ||
           (type == "integer" && v.is_integer()) || (type == "number" && v.is_number()) ||
           (type == "string" && v.is_string()) || (type == "array" && v.is_array()) ||
           (type == "object" && v.is_object());
  }
  static Text type_error(const Json& wanted, const Json& value, const Text& at) {
    if (wanted.is_string())
      return is_type(wanted.string(), value) ? "" : at + " is no " + wanted.string() + ": " + value.dump();
    for (const Json& type : wanted.items()) {
      if (is_type(type.string(), value)) return "";
    }
    return at + " is none of " + wanted.dump();
  }
  static bool any_equal(const std::vector<Json>& list, const Json& value) {
    return std::ranges::any_of(list, [&](const Json& item) { return item == value; });
  }
  Text choice_error(const Text& keyword, const Json& wanted, const Json& value, const Text& at) const {
    int fitting = 0;
    Text errors;
    for (const Json& choice : wanted.items()) {
      const Text error = check(choice, value, at);
      fitting += error.empty() ? 1 : 0;
      errors += " | " + error;
    }
    if (fitting == 1 || (fitting > 1 && keyword == "anyOf")) return "";
    return at + ": " + std::to_string(fitting) + " of " + keyword + " fit" + errors;
  }
  Text branch_error(const Json& schema, const Json& condition, const Json& value, const Text& at) const {
    const Json* branch = schema.find(check(condition, value, at).empty() ? "then" : "else");
    return branch == nullptr ? "" : check(*branch, value, at);
  }
  static Text missing_error(const Json& wanted, const Json& value, const Text& at) {
    if (!value.is_object()) return "";
    for (const Json& key : wanted.items()) {
      if (!value.contains(key.string())) return at + " lacks " + key.string();
    }
    return "";
  }
  Text properties_error(const Json& wanted, const Json& value, const Text& at) const {
    if (!value.is_object()) return "";
    for (const auto& [key, schema] : wanted.members()) {
      const Json* member = value.find(key);
      const Text error = member == nullptr ? "" : check(schema, *member, at + "." + key);
      if (!error.empty()) return error;
    }
    return "";
  }
  // And patternProperties, which take keys away from it.
  Text additional_error(const Json& schema, const Json& wanted, const Json& value, const Text& at) const {
    if (!value.is_object()) return "";
    const Json* properties = schema.find("properties");
    const Json* patterns = schema.find("patternProperties");
    for (const auto& [key, member] : value.members()) {
      if (properties != nullptr && properties->contains(key)) continue;
      const Json* fitting = &wanted;
      if (patterns != nullptr) {
        for (const auto& [pattern, pattern_schema] : patterns->members()) {
          if (std::regex_search(key, std::regex(pattern))) fitting = &pattern_schema;
        }
      }
      const Text error = check(*fitting, member, at + "." + key);
      if (!error.empty()) return error;
    }
    return "";
  }
  Text array_error(const Text& keyword, const Json& wanted, const Json& value, const Text& at) const {
    if (!value.is_array()) return "";
    const auto size = static_cast<int64_t>(value.size());
    if (keyword == "minItems") return size >= wanted.integer() ? "" : at + " has too few items";
    if (keyword == "maxItems") return size <= wanted.integer() ? "" : at + " has too many items";
    for (size_t i = 0; i < value.size(); ++i) {
      const Text error = check(wanted, value.at(i), at + "[" + std::to_string(i) + "]");
      if (!error.empty()) return error;
    }
    return "";
  }
  static Text bound_error(const Text& keyword, const Json& wanted, const Json& value, const Text& at) {
    if (!value.is_number()) return "";
    const double v = value.number(), bound = wanted.number();
    const bool good = keyword == "minimum" ? v >= bound : keyword == "maximum" ? v <= bound : v > bound;
    return good ? "" : at + " is " + value.dump() + ", " + keyword + " is " + wanted.dump();
  }

  const Json& root_;
};

}  // namespace r1::test
