#include "formats/json.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "tests/formats/formats_test_util.h"

namespace r1::json_test {
namespace {

Json parse(std::string_view text) {
  return parse_json(text, "c.json");
}
std::string refusal(std::string_view text) {
  return error_of([&] { parse(text); });
}

TEST(Json, ReadsEveryKindInFileOrder) {
  const Json json =
      parse(R"( {"z": null, "a": true, "i": -9223372036854775808, "d": 1.5e3, "s": "x\n\u00e9\ud83d\ude00",
                               "l": [1, [], {}], "o": {"k": false}} )");
  ASSERT_EQ(json.size(), 7u);
  EXPECT_EQ(json.members()[0].first, "z");
  EXPECT_EQ(json.members()[6].first, "o");
  EXPECT_TRUE(json.at("z").is_null());
  EXPECT_TRUE(json.at("a").boolean());
  EXPECT_EQ(json.at("i").integer(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(json.at("d").number(), 1500.0);
  EXPECT_EQ(json.at("s").string(), "x\n\xC3\xA9\xF0\x9F\x98\x80");
  EXPECT_EQ(json.at("l").items().size(), 3u);
  EXPECT_EQ(json.at("l").at(0).integer(), 1);
  EXPECT_FALSE(json.at("o").get_bool("k"));
  EXPECT_EQ(json.find("y"), nullptr);
}

TEST(Json, ReadsScalarDocuments) {
  EXPECT_EQ(parse(" 12 ").integer(), 12);
  EXPECT_EQ(parse("\"a\"").string(), "a");
  EXPECT_TRUE(parse("null\n").is_null());
  EXPECT_TRUE(parse("true").boolean());
  EXPECT_EQ(parse("-0.5").number(), -0.5);
}

TEST(Json, KeepsIntegersApartFromDoubles) {
  EXPECT_TRUE(parse("4096").is_integer());
  EXPECT_FALSE(parse("4096.0").is_integer());
  EXPECT_TRUE(parse("4096.0").is_number());
  EXPECT_EQ(parse("4096").number(), 4096.0);
  EXPECT_EQ(refusal("[4096.0]"), "");
  EXPECT_EQ(error_of([] { parse("[4096.0]").at(0).integer(); }),
            "c.json: [0] is a number with a fraction; it must be an integer of 64 bits");
  EXPECT_EQ(error_of([] { parse("[12345678901234567890]").at(0).integer(); }),
            "c.json: [0] is an integer beyond 64 bits; it must be an integer of 64 bits");
}

TEST(Json, NumbersPassThroughAsTheyWereWritten) {
  const std::string text =
      R"([0.10,1e400,-1E+999,123456789012345678901234567890,-0,1.0,-0.0,1E2,9007199254740993.0,7])";
  const Json json = parse(text);
  EXPECT_EQ(json.dump(), text);
  EXPECT_EQ(Json(json).dump(), text);
  EXPECT_EQ(json.at(0).literal(), "0.10");
  EXPECT_EQ(json.at(3).literal(), "123456789012345678901234567890");
  EXPECT_EQ(parse("0.1000").literal(), "0.1000");
  EXPECT_EQ(parse(" {\"a\" : 1.50 } ").at("a").literal(), "1.50");
  EXPECT_EQ(Json(1.5).literal(), "1.5");
  EXPECT_EQ(Json(7).literal(), "7");
  EXPECT_THROW(Json("7").literal(), Error);
  EXPECT_EQ(json.at(0).number(), 0.1);
  try {
    (void)json.at(1).number();
    FAIL() << "1e400 is no double";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "c.json: [1] is beyond the range of a double");
  }
}

TEST(Json, IntegersBeyond64BitsAreNumbers) {
  // The model_max_length of many a tokenizer_config.json.
  const Json json = parse(R"({"model_max_length": 1000000000000000019884624838656})");
  EXPECT_EQ(json.at("model_max_length").number(), 1e30);
  EXPECT_FALSE(json.at("model_max_length").is_integer());
  EXPECT_TRUE(parse("9223372036854775807").is_integer());
  EXPECT_FALSE(parse("9223372036854775808").is_integer());
  EXPECT_EQ(parse("1e-999").number(), 0.0);
}

TEST(Json, RefusesDuplicateKeys) {
  EXPECT_EQ(refusal(R"({"a": 1, "b": 2, "a": 3})"),
            "c.json: offset 22: key \"a\" appears twice in one object");
  EXPECT_NE(refusal(R"({"o": {"a": 1, "\u0061": 3}})").find("key \"a\" appears twice"), std::string::npos);
  std::string wide = "{";
  for (int i = 0; i < 100; ++i) wide += "\"some_long_key_" + std::to_string(i) + "\": 0, ";
  EXPECT_NE(refusal(wide + "\"some_long_key_42\": 0}").find("key \"some_long_key_42\" appears twice"),
            std::string::npos);
  const Json fine = parse(wide + "\"x\": 1}");
  for (int i = 0; i < 100; ++i) EXPECT_NE(fine.find("some_long_key_" + std::to_string(i)), nullptr) << i;
  EXPECT_EQ(fine.find("some_long_key_"), nullptr);
  EXPECT_EQ(fine.find("zz"), nullptr);
}

TEST(Json, RefusesMalformedTextWithItsOffset) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "offset 0: the text is empty"},
      {"  \n", "offset 0: the text is empty"},
      {"{\"a\": \"\xFF\"}", "offset 7: invalid UTF-8"},
      {"{\"a\": \"\xC0\x80\"}", "offset 7: invalid UTF-8"},
      {"{\"a\": \"\xED\xA0\x80\"}", "offset 7: invalid UTF-8"},
      {"{\"a\": \"b}", "offset 6: a string does not end"},
      {"[\"a\nb\"]", "offset 3: a control character inside a string is not escaped"},
      {R"(["\x"])", "a string has a bad escape"},
      {R"(["\ud83d"])", "offset 1: a string has a bad escape"},
      {R"(["\udc00"])", "offset 1: a string has a bad escape"},
      {R"(["\ud83d\u0041"])", "offset 1: a string has a bad escape"},
      {R"({"\udc00": 1})", "bad escape"},
      {"[1, 2", "does not end"},
      {"{\"a\": 1", "does not end"},
      {"[1,]", "offset 3: malformed JSON"},
      {"[1 2]", "malformed JSON"},
      {"{\"a\" 1}", "malformed JSON"},
      {"{a: 1}", "malformed JSON"},
      {"[01]", "offset 1: malformed JSON"},
      {"[+1]", "offset 1: malformed JSON"},
      {"[.5]", "offset 1: malformed JSON"},
      {"[1.]", "offset 1: malformed JSON"},
      {"[1e]", "offset 1: malformed JSON"},
      {"[-]", "offset 1: malformed JSON"},
      {"[NaN]", "offset 1: malformed JSON"},
      {"[Infinity]", "offset 1: malformed JSON"},
      {"[nul]", "offset 1: malformed JSON"},
      {"[truee]", "offset 1: malformed JSON"},
      {"1 2", "malformed JSON"},
      {"[1] x", "does not end where the text does"},
      {"[1] []", "offset 4: there is more text after the JSON value"},
      {"{} {}", "offset 3: there is more text after the JSON value"},
      {"\"a\" \"b\"", "offset 4: there is more text after the JSON value"},
  };
  for (const auto& [text, reason] : cases) {
    const std::string why = refusal(text);
    EXPECT_TRUE(why.starts_with("c.json: offset ")) << text << " -> " << why;
    EXPECT_NE(why.find(reason), std::string::npos) << text << " -> " << why;
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
  }
}

TEST(Json, BoundsTheDepth) {
  const auto nested = [](int levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  EXPECT_EQ(refusal(nested(kMaxJsonDepth)), "");
  EXPECT_NE(refusal(nested(kMaxJsonDepth + 1)).find("nested deeper than 128 levels"), std::string::npos);
  EXPECT_NE(refusal(std::string(1'000'000, '[')), "");
  std::string objects;
  for (int i = 0; i < 200; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects + "1" + std::string(200, '}')).find("nested deeper"), std::string::npos);
}

TEST(Json, TruncatedAnywhereIsAnError) {
  const std::string text = R"({"a": {"b": [1, 2.5, "x\u00e9"]}, "c": [true, null, {"d": -1e5}]})";
  ASSERT_EQ(refusal(text), "");
  for (size_t n = 0; n < text.size(); ++n) EXPECT_NE(refusal(text.substr(0, n)), "") << n;
}

TEST(Json, ErrorsNameFileAndField) {
  const Json json =
      parse(R"({"rope_scaling": {"type": "yarn", "factor": "40"}, "layers": [{"n": 1}, {"n": "two"}],
                             "hidden_size": null, "a,b": [[0, {"c": 1.5}]]})");
  EXPECT_EQ(error_of([&] { json.at("rope_scaling").at("factor").number(); }),
            "c.json: rope_scaling.factor is a string; it must be a number");
  EXPECT_EQ(error_of([&] { json.find("layers")->items()[1].get_int("n"); }),
            "c.json: layers[1].n is a string; it must be an integer of 64 bits");
  EXPECT_EQ(error_of([&] { json.get_int("hidden_size"); }),
            "c.json: hidden_size is null; it must be an integer of 64 bits");
  EXPECT_EQ(error_of([&] { json.at("rope_scaling").at("factr"); }),
            "c.json: field rope_scaling.factr is missing (nearest: factor)");
  EXPECT_EQ(error_of([&] { json.get_int("hiden_size"); }),
            "c.json: field hiden_size is missing (nearest: hidden_size)");
  EXPECT_EQ(error_of([&] { json.at("vocab_size"); }), "c.json: field vocab_size is missing");
  EXPECT_EQ(error_of([&] { json.at("layers").at(2); }), "c.json: layers has 2 elements, no element 2");
  EXPECT_EQ(error_of([&] { json.at("layers").at("n"); }), "c.json: layers is an array; it must be an object");
  EXPECT_EQ(error_of([&] { json.string(); }), "c.json: the document is an object; it must be a string");
  EXPECT_EQ(error_of([&] { json.at("rope_scaling").at("factor").fail("is not 40"); }),
            "c.json: rope_scaling.factor is not 40");
  EXPECT_EQ(json.at("a,b").at(0).at(1).at("c").path(), "a,b[0][1].c");
  EXPECT_EQ(json.at("a,b").source(), "c.json");
  const Json kept = Json(json.at("rope_scaling"));  // a copy outlives its document and keeps its source
  EXPECT_EQ(kept.at("factor").path(), "rope_scaling.factor");
  EXPECT_EQ(error_of([] { Json(3).string(); }),
            "JSON value: the document is an integer; it must be a string");
}

TEST(Json, FallbacksCoverMissingAndNullOnly) {
  const Json json = parse(R"({"i": 7, "n": null, "s": "x", "d": 0.5, "b": true})");
  EXPECT_EQ(json.get_int_or("i", 3), 7);
  EXPECT_EQ(json.get_int_or("missing", 3), 3);
  EXPECT_EQ(json.get_int_or("n", 3), 3);
  EXPECT_EQ(json.get_number_or("i", 3), 7.0);
  EXPECT_EQ(json.get_number_or("d", 3), 0.5);
  EXPECT_EQ(json.get_bool_or("b", false), true);
  EXPECT_EQ(json.get_bool_or("n", true), true);
  EXPECT_EQ(json.get_string_or("s", "y"), "x");
  EXPECT_EQ(json.get_string_or("missing", "y"), "y");
  EXPECT_NE(error_of([&] { json.get_int_or("s", 3); }), "");
  EXPECT_NE(error_of([&] { json.get_bool_or("i", false); }), "");
}

TEST(Json, BuildersAndDump) {
  Json json = Json::object();
  json.set("name", "r1").set("n", 3).set("x", 0.1).set("whole", 2.0).set("none", nullptr).set("yes", true);
  json.set("list", Json::array_of(std::vector<int32_t>{1, 2, 3})).set("n", 4);
  json.set("nested", Json::array().push_back(Json::object()).push_back(Json::array()));
  EXPECT_EQ(
      json.dump(),
      R"({"name":"r1","n":4,"x":0.1,"whole":2.0,"none":null,"yes":true,"list":[1,2,3],"nested":[{},[]]})");
  EXPECT_EQ(json.dump(2), R"({
  "name": "r1",
  "n": 4,
  "x": 0.1,
  "whole": 2.0,
  "none": null,
  "yes": true,
  "list": [1, 2, 3],
  "nested": [
    {},
    []
  ]
})");
  EXPECT_EQ(parse(json.dump()), json);
  EXPECT_EQ(parse(json.dump(2)), json);
}

TEST(Json, SettingOnAWideParsedObjectKeepsFindRight) {
  std::string text = "{";
  for (int i = 0; i < 50; ++i) text += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  Json json = parse(text);
  json.set("k7", "seven").set("new", 1);
  EXPECT_EQ(json.get_string("k7"), "seven");
  EXPECT_EQ(json.get_int("new"), 1);
  EXPECT_EQ(json.get_int("k49"), 49);
  EXPECT_EQ(json.members().back().first, "new");
}

TEST(Json, DumpIsAlwaysValidJson) {
  EXPECT_EQ(Json(std::nan("")).dump(), "null");
  EXPECT_EQ(Json(-std::numeric_limits<double>::infinity()).dump(), "null");
  EXPECT_EQ(Json("a\"\\\n\t\x01\x7F").dump(), "\"a\\\"\\\\\\n\\t\\u0001\x7F\"");
  EXPECT_EQ(Json("\xC3").dump(), "\"\xEF\xBF\xBD\"");  // cut inside a character
  EXPECT_EQ(Json("\xED\xA0\x80").dump(), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");  // a surrogate
  EXPECT_EQ(Json("\xF0\x9F\x98\x80").dump(), "\"\xF0\x9F\x98\x80\"");
  EXPECT_EQ(Json(std::string("a\0b", 3)).dump(), "\"a\\u0000b\"");
}

TEST(Json, DoublesRoundTripToTheBit) {
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = static_cast<uint64_t>(random.next_u32()) << 32 | random.next_u32();
    const double value = std::bit_cast<double>(bits);
    if (!std::isfinite(value)) continue;
    const Json back = parse(Json(value).dump());
    ASSERT_EQ(back.kind(), Json::Kind::number) << Json(value).dump();
    ASSERT_EQ(std::bit_cast<uint64_t>(back.number()), bits) << Json(value).dump();
  }
  for (const double value : {0.0, -0.0, 1e22, 123456789012.0, 5e-324}) {
    EXPECT_EQ(std::bit_cast<uint64_t>(parse(Json(value).dump()).number()), std::bit_cast<uint64_t>(value))
        << value;
  }
}

TEST(Json, ThreadsParseAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const Json json = parse("{\"t\": " + std::to_string(t) + ", \"l\": [" + std::to_string(i) + "]}");
        if (json.get_int("t") != t || json.at("l").at(0).integer() != i) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Json, PublishedConfigsParse) {
  const std::filesystem::path configs = shared_data() / "configs";
  if (!std::filesystem::exists(configs))
    GTEST_SKIP() << "NO TEST DATA at " << configs << ": set R1_TEST_DATA";
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(configs)) {
    if (entry.path().extension() != ".json") continue;
    const std::string why = error_of([&] {
      const Json json = read_json(entry.path());
      EXPECT_EQ(parse_json(json.dump(2), "again"), json) << entry.path();
      if (entry.path().filename() == "config.json") {
        EXPECT_GT(json.get_int("hidden_size"), 0) << entry.path();
        EXPECT_GT(json.get_number("rms_norm_eps"), 0) << entry.path();
      }
    });
    EXPECT_EQ(why, "") << entry.path();
    ++files;
  }
  EXPECT_GE(files, 20);
}

TEST(Json, PublishedTokenizersParse) {
  const std::filesystem::path file = shared_data() / "tokenizers/deepseek-r1-distill-llama/tokenizer.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "NO TEST DATA at " << file << ": set R1_TEST_DATA";
  const auto start = std::chrono::steady_clock::now();
  const Json json = read_json(file);
  const auto end = std::chrono::steady_clock::now();
  RecordProperty("milliseconds",
                 static_cast<int>(std::chrono::duration<double, std::milli>(end - start).count()));
  const Json& vocabulary = json.at("model").at("vocab");
  EXPECT_EQ(vocabulary.size(), 128000u);
  for (size_t i = 0; i < vocabulary.size(); i += 997) {
    const Json::Member& member = vocabulary.members()[i];
    ASSERT_EQ(vocabulary.find(member.first), &member.second) << member.first;
  }
}

}  // namespace
}  // namespace r1::json_test
