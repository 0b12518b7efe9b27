// Strict configuration: every mistake is named with its file, line and key.
#include "formats/config_file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace r1 {
namespace {

template <class F>
std::string message(F&& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

ConfigFile parse(const std::string& text) {
  return ConfigFile::parse(text, "a.toml");
}

TEST(ConfigFile, ReadsEveryKindOfValue) {
  ConfigFile c = parse(
      "name = \"x\"\n[a]\ni = 3\nf = 2.5\nb = true\nl = [1, 2.5]\nt = ['p', 'q']\n[[stage]]\nname = "
      "'s0'\n[[stage]]\nname = 's1'\n"
      "[model.config]\nk = 1\n[model.config.deep]\nz = [1]\n");
  EXPECT_EQ(c.text("name"), "x");
  EXPECT_EQ(c.integer("a.i", 0, 9), 3);
  EXPECT_EQ(c.number_or("a.f", 0, 0, 9), 2.5);
  EXPECT_EQ(c.number_or("a.i", 0, 0, 9), 3.0);
  EXPECT_TRUE(c.boolean_or("a.b", false));
  EXPECT_EQ(c.numbers_or("a.l", {}), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(c.texts_or("a.t", {}), (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(c.array_size("stage"), 2);
  EXPECT_EQ(c.text("stage[0].name") + c.text("stage[1].name"), "s0s1");
  EXPECT_EQ(c.subtree("model.config").dump(), R"({"deep":{"z":[1]},"k":1})");
  EXPECT_TRUE(c.subtree("model.none").is_null());
  EXPECT_EQ(c.integer_or("a.none", 7, 0, 9), 7);
  c.finish();
}

TEST(ConfigFile, UnknownKeysAreRefusedWithTheNearestKnownOne) {
  ConfigFile c = parse("[rollout]\nmax_token = 3\n");
  c.integer_or("rollout.max_tokens", 1, 1, 9);
  EXPECT_EQ(message([&] { c.finish(); }),
            "a.toml:2: unknown key rollout.max_token (did you mean rollout.max_tokens?)");
  ConfigFile d = parse("zzzzzzzz = 3\n");
  d.text_or("name", "");
  EXPECT_EQ(message([&] { d.finish(); }), "a.toml:1: unknown key zzzzzzzz");
}

TEST(ConfigFile, ErrorsNameFileLineAndKey) {
  EXPECT_EQ(message([] { parse("\na = 'x'\n").integer("a", 0, 1); }), "a.toml:2: a is not a whole number");
  EXPECT_EQ(message([] { parse("a = 5\n").integer("a", 0, 4); }), "a.toml:1: a is 5: 0 to 4 is wanted");
  EXPECT_EQ(message([] { parse("a = nan\n").number_or("a", 0, 0, 4); }),
            "a.toml:1: a is nan: 0 to 4 is wanted");
  EXPECT_EQ(message([] { parse("").text("name"); }), "a.toml: name is missing");
  EXPECT_EQ(message([] {
              parse("d = 'q'").choice_or("d", "a", {"a", "b"});
            }),
            "a.toml:1: d is \"q\": one of a, b is wanted");
  EXPECT_NE(message([] { parse("a = 2020-01-01\n"); }).find("date"), std::string::npos);
  EXPECT_NE(message([] { parse("a = [\n"); }).find("a.toml:"), std::string::npos);
  EXPECT_NE(message([] { parse("a = 1\na = 2\n"); }).find("not valid TOML"), std::string::npos);
  EXPECT_EQ(message([] { parse("a = 1\n\n[# b]\nc = 1\n"); }),
            "a.toml:3: not valid TOML: a key is wanted here");
  EXPECT_NE(message([] { parse("a = 1\n\xc3\xa9 = 2\n"); }).find("a.toml:2: not valid TOML"),
            std::string::npos);
  EXPECT_NE(message([] { ConfigFile::read("/no/such.toml"); }).find("/no/such.toml"), std::string::npos);
}

TEST(ConfigFile, FingerprintIsOfWhatIsSaid) {
  EXPECT_EQ(parse("a = 1\nb = 2\n").fingerprint(), parse("# note\nb = 2\n\na  =  1\n").fingerprint());
  EXPECT_NE(parse("a = 1\n").fingerprint(), parse("a = 2\n").fingerprint());
  ConfigFile c = parse("a = 1\n");
  c.override_with("a", Json(2));
  EXPECT_EQ(c.fingerprint(), parse("a = 2\n").fingerprint());
  EXPECT_EQ(c.integer("a", 0, 9), 2);
}

TEST(ConfigFile, AValueFromElsewhereHasNoLine) {
  ConfigFile file = ConfigFile::parse("a = 1\n", "F.toml");
  file.override_with("a", Json(int64_t{2}));
  file.override_with("b", Json(int64_t{3}));
  const auto says = [&](const char* key) {
    try {
      file.text(key);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(says("a"), "F.toml:1: a is not a string");
  EXPECT_EQ(says("b"), "F.toml: b is not a string");
}

TEST(ConfigFile, RemembersWhatItWasAskedFor) {
  ConfigFile c = parse("n = 3\nmodel.config.k = 1\n");
  c.integer_or("n", 5, 1, 9);
  c.integer("n", 0, 99);  // the first question stands, but now it wants an answer
  c.number_or("lr", 0.5, 0, 1);
  c.choice_or("mode", "a", {"a", "b"});
  c.subtree("model.config");
  const auto& asked = c.asked();
  EXPECT_EQ(asked.size(), 4u);
  EXPECT_TRUE(asked.at("n").required);
  EXPECT_EQ(asked.at("n").fallback, Json(5));
  EXPECT_EQ(asked.at("n").high, Json(9));
  EXPECT_FALSE(asked.at("lr").required);
  EXPECT_EQ(asked.at("lr").kind, ConfigFile::Asked::Kind::number);
  EXPECT_EQ(asked.at("mode").choices, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(asked.at("model.config").kind, ConfigFile::Asked::Kind::subtree);
}

}  // namespace
}  // namespace r1
