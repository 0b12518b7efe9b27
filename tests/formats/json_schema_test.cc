// The tests' validator of JSON schemas: it accepts and refuses correctly and ignores no keyword.
#include "tests/formats/json_schema.h"

#include <gtest/gtest.h>

namespace r1::json_schema_test {
namespace {

std::string errors(const std::string& schema, const std::string& value) {
  const Json root = parse_json(schema, "schema");
  return test::SchemaValidator(root).check(parse_json(value, "value"));
}

TEST(JsonSchema, AcceptsAndRefuses) {
  const struct {
    const char *schema, *good, *bad;
  } cases[] = {
      {R"({"type": "integer"})", "3", "3.5"},
      {R"({"type": "number"})", "3", "\"3\""},
      {R"({"type": ["string", "null"]})", "null", "false"},
      {R"({"enum": ["a", 2]})", "2", "\"b\""},
      {R"({"const": "x"})", "\"x\"", "\"y\""},
      {R"({"minimum": 1, "maximum": 2})", "2", "0"},
      {R"({"exclusiveMinimum": 0})", "0.5", "0"},
      {R"({"pattern": "^[ab]+$"})", "\"abba\"", "\"abc\""},
      {R"({"required": ["a"]})", R"({"a": 1})", R"({"b": 1})"},
      {R"({"properties": {"a": {"type": "string"}}})", R"({"b": 1})", R"({"a": 1})"},
      {R"({"properties": {"a": {}}, "additionalProperties": false})", R"({"a": 1})", R"({"a": 1, "b": 2})"},
      {R"({"additionalProperties": {"type": "integer"}})", R"({"a": 1})", R"({"a": "1"})"},
      {R"({"patternProperties": {"^p_": {"type": "number"}}, "additionalProperties": false})",
       R"({"p_1": 0.5})", R"({"p_1": "x"})"},
      {R"({"items": {"type": "integer"}, "minItems": 1, "maxItems": 2})", "[1, 2]", "[1, 2, 3]"},
      {R"({"items": {"type": "integer"}})", "[1]", "[\"1\"]"},
      {R"({"anyOf": [{"type": "string"}, {"minimum": 3}]})", "4", "2"},
      {R"({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]})", R"({"a": 1})", R"({"a": 1, "b": 1})"},
      {R"({"if": {"properties": {"k": {"const": 1}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]}})",
       R"({"k": 1, "x": 0})", R"({"k": 2, "x": 0})"},
      {R"({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/m"}}, "m": {"type": "null"}}})",
       "[null]", "[1]"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(errors(c.schema, c.good), "") << c.schema;
    EXPECT_NE(errors(c.schema, c.bad), "") << c.schema;
  }
}

TEST(JsonSchema, SaysWhere) {
  EXPECT_EQ(errors(R"({"properties": {"a": {"items": {"type": "integer"}}}})", R"({"a": [1, "x"]})"),
            "$.a[1] is no integer: \"x\"");
}

TEST(JsonSchema, KeywordsThatItDoesNotKnowAreFailures) {
  EXPECT_NE(errors(R"({"uniqueItems": true})", "[1, 1]").find("uniqueItems"), std::string::npos);
}

}  // namespace
}  // namespace r1::json_schema_test
