// JSON Schemas as grammars, against the official suite, the published cases, and cases of our own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/number_language.h"
#include "engine/grammar/program.h"
#include "formats/json.h"

namespace r1::json_schema_test {
namespace {

bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarState state(grammar);
  return state.accept(text) && state.is_complete();
}

std::shared_ptr<const Grammar> compile(std::string_view schema, bool exact = false) {
  return Grammar::from_json_schema(parse_json(schema, "test.json"), "test.json", exact);
}

std::string compile_error(std::string_view schema, bool exact = false) {
  try {
    compile(schema, exact);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The text of a number as grammars write it: an integer without a point, no exponent.
std::string plain_number(const Json& json) {
  const Decimal value = read_decimal(json.literal());
  if (value.is_zero()) return "0";
  std::string whole, fraction;
  for (int64_t i = std::min<int64_t>(value.point, 0);
       i < static_cast<int64_t>(value.digits.size()) || i < value.point; ++i) {
    const char digit =
        i >= 0 && i < static_cast<int64_t>(value.digits.size()) ? value.digits[static_cast<size_t>(i)] : '0';
    if (i < value.point && value.point > 0)
      whole += digit;
    else if (i >= value.point)
      fraction += digit;
  }
  return (value.negative ? "-" : "") + (whole.empty() ? "0" : whole) +
         (fraction.empty() ? "" : "." + fraction);
}

std::string plain_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const std::string_view letters = "\"\"\\\\\nn\rr\tt";
    size_t at = 0;
    while (at < letters.size() && letters[at] != c) at += 2;
    if (at < letters.size())
      out += {'\\', letters[at + 1]};
    else if (static_cast<uint8_t>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<uint8_t>(c));
    else
      out += c;
  }
  return out + "\"";
}

// Every text that writes the value with its members in some order; at most `most`.
std::vector<std::string> texts_of(const Json& json, size_t most = 800) {
  if (json.is_number()) return {plain_number(json)};
  if (json.is_string()) return {plain_string(json.string())};
  if (!json.is_array() && !json.is_object()) return {json.dump()};
  const auto join = [&](const std::vector<std::vector<std::string>>& parts, std::vector<std::string>& out,
                        const char* ends) {
    std::vector<size_t> chosen(parts.size());
    for (;;) {
      std::string text(1, ends[0]);
      for (size_t i = 0; i < parts.size(); ++i) text += (i > 0 ? "," : "") + parts[i][chosen[i]];
      out.push_back(text + ends[1]);
      size_t i = 0;
      while (i < parts.size() && ++chosen[i] == parts[i].size()) chosen[i++] = 0;
      if (i == parts.size() || out.size() >= most) return;
    }
  };
  std::vector<std::string> out;
  std::vector<std::vector<std::string>> parts;
  if (json.is_array()) {
    for (const Json& item : json.items()) parts.push_back(texts_of(item, 20));
    join(parts, out, "[]");
    return out;
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < json.size(); ++i) order.push_back(i);
  do {
    parts.clear();
    for (const size_t i : order) {
      parts.push_back(texts_of(json.members()[i].second, 20));
      for (std::string& text : parts.back()) text = plain_string(json.members()[i].first) + ":" + text;
    }
    join(parts, out, "{}");
  } while (out.size() < most && std::ranges::next_permutation(order).found);
  return out;
}

// Random texts of a grammar: at each byte, one of those that may follow. Ends as soon as it may, with chance.
std::string random_text(const std::shared_ptr<const Grammar>& grammar, Random& random) {
  GrammarState state(grammar);
  std::string text;
  for (int steps = 0; steps < 4000; ++steps) {
    if (state.is_complete() && (!state.can_continue() || random.between(0, 3) == 0)) return text;
    std::vector<char> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      GrammarState next = state;
      if (next.accept(std::string(1, static_cast<char>(byte)))) bytes.push_back(static_cast<char>(byte));
    }
    if (bytes.empty()) {
      ADD_FAILURE() << "no byte may follow " << text;
      return text;
    }
    // Endings are preferred later on, so that texts end.
    char chosen = bytes[static_cast<size_t>(random.between(0, std::ssize(bytes) - 1))];
    for (const char end : std::string_view("\"]}")) {
      if (steps > 60 && std::ranges::find(bytes, end) != bytes.end() && random.between(0, 1) == 0)
        chosen = end;
    }
    text += chosen;
    state.accept(std::string(1, chosen));
  }
  return "";
}

// A schema of the suite: which of its instances are judged wrongly.
struct Judged {
  bool supported = false;
  std::vector<std::string> wrong;
};

Judged judge(const Json& group) {
  Judged judged;
  std::shared_ptr<const Grammar> grammar;
  try {
    grammar = Grammar::from_json_schema(group.at("schema"), "suite", true);
  } catch (const NoText&) {
    // No value fulfils the schema: right if no instance is valid.
    judged.supported = true;
  } catch (const Error&) {
    return judged;
  }
  judged.supported = true;
  for (const Json& test : group.at("tests").items()) {
    const std::vector<std::string> texts = texts_of(test.at("data"));
    const bool accepted = grammar != nullptr && std::ranges::any_of(texts, [&](const std::string& text) {
                            return accepts(grammar, text);
                          });
    if (accepted != test.get_bool("valid"))
      judged.wrong.push_back(fmt::format("{} / {}: {} is {}", group.get_string("description"),
                                         test.get_string("description"), texts[0],
                                         accepted ? "accepted" : "rejected"));
  }
  return judged;
}

TEST(JsonSchema, JudgesTheOfficialSuiteRightWhereItIsSupported) {
  const char* data = std::getenv("R1_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "R1_TEST_DATA is not set: the JSON Schema suite is not tested";
  const std::filesystem::path folder =
      std::filesystem::path(data) / "structured/JSON-Schema-Test-Suite/tests/draft2020-12";
  ASSERT_TRUE(std::filesystem::is_directory(folder)) << folder;
  int schemas = 0, supported = 0;
  std::map<std::string, std::pair<int, int>> by_file;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const Json groups = read_json(entry.path());
    auto& [all, good] = by_file[entry.path().stem()];
    for (const Json& group : groups.items()) {
      const Judged judged = judge(group);
      ++schemas, ++all;
      if (judged.supported) ++supported, ++good;
      for (const std::string& wrong : judged.wrong) ADD_FAILURE() << entry.path().filename() << ": " << wrong;
    }
  }
  for (const auto& [name, counts] : by_file) {
    if (counts.first != counts.second)
      std::printf("  %-24s %d of %d\n", name.c_str(), counts.second, counts.first);
  }
  std::printf("  JSON-Schema-Test-Suite, draft 2020-12, required: %d of %d schemas supported (%.1f %%)\n",
              supported, schemas, 100.0 * supported / schemas);
  EXPECT_GT(schemas, 300);
  EXPECT_GE(supported * 10, schemas * 7);
}

// As the server reads schemas. That the exact reading agrees with the standard is what the test above shows; the jsonschema package
// judges such texts, too (scripts/check_schemas.sh --suite).
TEST(JsonSchema, WhateverIsWrittenUnderASchemaOfTheOfficialSuiteIsValid) {
  const char* data = std::getenv("R1_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "R1_TEST_DATA is not set: the JSON Schema suite is not tested";
  const std::filesystem::path folder =
      std::filesystem::path(data) / "structured/JSON-Schema-Test-Suite/tests/draft2020-12";
  Random random(3);
  int schemas = 0, supported = 0, texts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const Json groups = read_json(entry.path());
    for (const Json& group : groups.items()) {
      ++schemas;
      std::shared_ptr<const Grammar> meant, exact;
      try {
        meant = Grammar::from_json_schema(group.at("schema"), "suite", false);
        exact = Grammar::from_json_schema(group.at("schema"), "suite", true);
      } catch (const NoText&) {
        ++supported;  // it says that no value fulfils the schema
        continue;
      } catch (const Error&) {
        continue;
      }
      ++supported;
      for (int i = 0; i < 4; ++i) {
        const std::string text = random_text(meant, random);
        if (text.empty()) continue;
        ++texts;
        EXPECT_TRUE(accepts(exact, text))
            << entry.path().filename() << ": " << group.get_string("description") << ": " << text;
      }
    }
  }
  std::printf("  as answers are read: %d of %d schemas supported (%.1f %%), %d texts written\n", supported,
              schemas, 100.0 * supported / schemas, texts);
  EXPECT_GE(supported * 10, schemas * 7);
  EXPECT_GT(texts, 3 * supported / 2);
}

TEST(JsonSchema, AcceptsAndRejectsAsThePublishedCases) {
  const char* data = std::getenv("R1_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "R1_TEST_DATA is not set: gbnf_accept_reject.jsonl is not tested";
  std::ifstream file(std::string(data) + "/structured/gbnf_accept_reject.jsonl");
  ASSERT_TRUE(file) << data;
  int schemas = 0;
  for (std::string line; std::getline(file, line);) {
    const Json row = parse_json(line, "gbnf_accept_reject.jsonl");
    if (row.get_string("kind") != "json_schema") continue;
    ++schemas;
    // One schema also demands that items differ, which is refused; the rest of it must be right.
    std::string schema = row.get_string("schema");
    const std::string unique = "\"uniqueItems\": true";
    if (const size_t at = schema.find(unique); at != std::string::npos) {
      EXPECT_THROW(compile(schema), Error);
      schema.replace(at, unique.size(), "\"uniqueItems\": false");
    }
    const auto grammar = compile(schema);
    for (const Json& text : row.at("accept").items())
      EXPECT_TRUE(accepts(grammar, text.string())) << row.get_string("schema") << "\n" << text.string();
    for (const Json& text : row.at("reject").items())
      EXPECT_FALSE(accepts(grammar, text.string())) << row.get_string("schema") << "\n" << text.string();
  }
  EXPECT_EQ(schemas, 33);
}

TEST(JsonSchema, WhatIsWrittenIsJsonAndFitsTheExactReading) {
  Random random(7);
  const char* const schemas[] = {
      R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
          "tags": {"type": "array", "items": {"enum": ["a", "b\n", 3, null]}, "maxItems": 3}}, "required": ["name", "age"]})",
      R"({"anyOf": [{"type": "number", "exclusiveMinimum": -1.5, "multipleOf": 0.25}, {"type": "string", "format": "date"}]})",
      R"({"oneOf": [{"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"]}, {"type": "array", "contains": {"const": 2}, "maxItems": 4}]})",
      R"({"type": "string", "pattern": "^([a-c]{2}x|[0-9]+)$", "minLength": 3})",
      R"({"$defs": {"t": {"type": "object", "properties": {"left": {"$ref": "#/$defs/t"}, "v": {"type": "boolean"}}, "required": ["v"]}}, "$ref": "#/$defs/t"})"};
  for (const char* schema : schemas) {
    const auto meant = compile(schema), exact = compile(schema, true);
    int ended = 0;
    for (int i = 0; i < 15; ++i) {
      const std::string text = random_text(meant, random);
      if (text.empty()) continue;
      ++ended;
      parse_json(text, "generated");
      EXPECT_TRUE(accepts(exact, text)) << schema << "\n" << text;
    }
    EXPECT_GT(ended, 5) << schema;
  }
}

TEST(JsonSchema, BoundsOnNumbersHoldDigitByDigit) {
  for (const char* bound : {"0", "-3", "7", "12", "105", "-0.5", "2.25", "0.004", "-99.99", "1000"}) {
    for (const char* keyword : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      const auto grammar = compile(fmt::format(R"({{"type": "number", "{}": {}}})", keyword, bound));
      for (int i = -11000; i <= 11000; i += 7) {
        for (const double scale : {1.0, 0.01, 0.001}) {
          const std::string text = plain_number(parse_json(fmt::format("{:.3f}", i * scale), "n"));
          const double value = std::stod(text), limit = std::stod(bound);
          const std::string_view k = keyword;
          const bool want = k == "minimum"            ? value >= limit
                            : k == "maximum"          ? value <= limit
                            : k == "exclusiveMinimum" ? value > limit
                                                      : value < limit;
          ASSERT_EQ(accepts(grammar, text), want) << text << " " << keyword << " " << bound;
        }
      }
    }
  }
}

TEST(JsonSchema, AnUnsupportedKeywordIsAnErrorWithItsPlace) {
  EXPECT_EQ(compile_error(R"({"properties": {"x": {"nullable": true}}})"),
            "test.json: schema /properties/x: keyword \"nullable\" is not supported");
  EXPECT_EQ(compile_error(R"({"type": "array", "items": {"uniqueItems": true}})"),
            "test.json: schema /items: keyword \"uniqueItems\" is not supported");
  EXPECT_EQ(compile_error(R"({"type": "strng"})"), "test.json: schema /: type \"strng\" is unknown");
  EXPECT_EQ(compile_error(R"({"format": "iban"})"), "test.json: schema /: format \"iban\" is not supported");
  EXPECT_EQ(compile_error(R"s({"pattern": "a(?=b)"})s"),
            "test.json: schema /: pattern \"a(?=b)\" has a look-ahead (?=..), which is not supported");
  EXPECT_EQ(
      compile_error(R"({"$ref": "http://example.com/other.json"})"),
      "test.json: schema /: \"$ref\": \"http://example.com/other.json\" is not in this document; nothing "
      "is fetched");
  EXPECT_EQ(compile_error(R"({"allOf": [{"type": "string"}, {"type": "null"}]})"),
            "test.json: no value fulfils the schema");
  EXPECT_EQ(compile_error(R"({"minItems": -1})"),
            "test.json: schema /: minItems is -1; it must be a whole number between 0 and 1000000000");
}

TEST(JsonSchema, HostileSchemasAreRefusedWithinBounds) {
  std::string deep = R"({"type": "string"})";
  for (int i = 0; i < 40; ++i) deep = R"({"not": )" + deep + "}";
  EXPECT_EQ(compile_error(deep), "");
  std::string wide = R"({"allOf": [)";
  for (int i = 0; i < 40; ++i)
    wide += fmt::format(R"({}{{"anyOf": [{{"minLength": {}}}, {{"required": ["a{}"]}}]}})", i > 0 ? "," : "",
                        i, i);
  EXPECT_NE(compile_error(wide + "]}").find("too many combinations"), std::string::npos);
  EXPECT_NE(compile_error(R"({"type": "string", "pattern": "^(a|b)*a(a|b){30}$"})").find("needs more than"),
            std::string::npos);
  EXPECT_NE(compile_error(R"({"contains": {"const": 1}, "minContains": 1000000, "maxContains": 1000001})")
                .find("too many states"),
            std::string::npos);
  EXPECT_EQ(compile_error(R"({"type": "array", "items": {"type": "integer"}, "minItems": 1000000})"), "");
}

}  // namespace
}  // namespace r1::json_schema_test
