// Strict configuration: every mistake is reported with its file, line and key.
#include "formats/config_file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace r1::config_file_test {
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
  EXPECT_EQ(message([] { parse("a = 5\n").integer("a", 0, 4); }),
            "a.toml:1: a is 5; it must be between 0 and 4");
  EXPECT_EQ(message([] { parse("a = nan\n").number_or("a", 0, 0, 4); }),
            "a.toml:1: a is nan; it must be between 0 and 4");
  EXPECT_EQ(message([] { parse("").text("name"); }), "a.toml: name is missing");
  EXPECT_EQ(message([] { parse("[optimiser]\nsteps = 1\n").integer("optimizer.steps", 1, 9); }),
            "a.toml: optimizer.steps is missing; line 2 has optimiser.steps: is that what is meant?");
  EXPECT_EQ(message([] { parse("[optimizer]\nbetas = [0.9, 0.95]\n").integer("optimizer.steps", 1, 9); }),
            "a.toml: optimizer.steps is missing");
  EXPECT_EQ(message([] {
              parse("d = 'quite'").choice_or("d", "alpha", {"alpha", "beta"});
            }),
            "a.toml:1: d is \"quite\"; it must be one of alpha, beta");
  EXPECT_NE(message([] { parse("a = 2020-01-01\n"); }).find("date"), std::string::npos);
  EXPECT_NE(message([] { parse("a = [\n"); }).find("a.toml:"), std::string::npos);
  EXPECT_NE(message([] { parse("a = 1\na = 2\n"); }).find("not valid TOML"), std::string::npos);
  EXPECT_EQ(message([] { parse("a = 1\n\n[# b]\nc = 1\n"); }),
            "a.toml:3: not valid TOML: a key must stand here");
  EXPECT_NE(message([] { parse("a = 1\n\xc3\xa9 = 2\n"); }).find("a.toml:2: not valid TOML"),
            std::string::npos);
  EXPECT_NE(message([] { ConfigFile::read("/no/such.toml"); }).find("/no/such.toml"), std::string::npos);
}

TEST(ConfigFile, AnUnknownSectionIsNamedAsASection) {
  const auto finish = [](const std::string& text) {
    ConfigFile c = parse(text);
    c.integer_or("optimizer.steps", 1, 1, 9);
    c.text_or("model", "");
    c.subtree("model.config");
    for (int64_t i = 0; i < c.array_size("stage"); ++i)
      c.text_or("stage[" + std::to_string(i) + "].name", "");
    return message([&] { c.finish(); });
  };
  EXPECT_EQ(finish("\n[optimiser]\nsteps = 3\n"),
            "a.toml:2: unknown section [optimiser] (did you mean [optimizer]?)");
  EXPECT_EQ(finish("[optimiser]\n"), "a.toml:1: unknown section [optimiser] (did you mean [optimizer]?)");
  EXPECT_EQ(finish("optimiser = {}\n"), "a.toml:1: unknown section [optimiser] (did you mean [optimizer]?)");
  EXPECT_EQ(finish("[xyzzyxyzzy]\na = 1\n"), "a.toml:1: unknown section [xyzzyxyzzy]");
  EXPECT_EQ(finish("[model.confg]\na = 1\n"),
            "a.toml:1: unknown section [model.confg] (did you mean [model.config]?)");
  EXPECT_EQ(finish("[[stagee]]\nname = 'a'\n"),
            "a.toml:1: unknown section [[stagee]] (did you mean [[stage]]?)");
  EXPECT_EQ(finish("[[stage]]\nname = 'a'\n[[stages]]\nname = 'a'\n"),
            "a.toml:3: unknown section [[stages]] (did you mean [[stage]]?)");
  EXPECT_EQ(finish("[optimizer]\nstep = 3\n"),
            "a.toml:2: unknown key optimizer.step (did you mean optimizer.steps?)");
  EXPECT_EQ(finish("[optimizer.steps]\n"), "a.toml:1: optimizer.steps is a section here; it must be a value");
  EXPECT_EQ(finish("[model.config.rope]\na = 1\n[optimizer]\nsteps = 3\n[[stage]]\nname = 'a'\n"), "");
}

TEST(ConfigFile, MistakesAreSaidInWholeSentences) {
  EXPECT_EQ(message([] { parse("[rollout]\ngroup = 0\n").integer_or("rollout.group", 16, 1, 1024); }),
            "a.toml:2: rollout.group is 0; it must be between 1 and 1024");
  EXPECT_EQ(message([] { parse("d = 'cuda'").choice_or("d", "cpu", {"cpu"}); }),
            "a.toml:1: d is \"cuda\"; it must be \"cpu\"");
  EXPECT_EQ(message([] {
              parse("d = 'cosin'").choice_or("d", "linear", {"linear", "cosine"});
            }),
            "a.toml:1: d is \"cosin\"; it must be one of linear, cosine (did you mean \"cosine\"?)");
  EXPECT_NE(message([] { parse("a = 9223372036854775808\n"); }).find("a.toml:1: not valid TOML"),
            std::string::npos);
  EXPECT_NE(message([] { parse("a = 1e999\n").number_or("a", 0, 0, 1); }).find("a.toml:1: "),
            std::string::npos);
}

TEST(ConfigFile, AValueWithoutADefaultMayBeMissing) {
  ConfigFile c = parse("n = 3\nx = 0.5\n");
  EXPECT_EQ(c.integer_if("n", 1, 9), 3);
  EXPECT_EQ(c.integer_if("none", 1, 9), std::nullopt);
  EXPECT_EQ(c.number_if("x", 0, 1), 0.5);
  EXPECT_EQ(c.number_if("y", 0, 1), std::nullopt);
  EXPECT_EQ(message([&] { c.integer_if("n", 4, 9); }), "a.toml:1: n is 3; it must be between 4 and 9");
  c.finish();
}

TEST(ConfigFile, SettingsAreWhatAFileMeansHoweverItSaysIt) {
  const auto settings = [](const std::string& text) {
    ConfigFile c = parse(text);
    c.number_or("optimizer.lr", 0.5, 0, 1);
    c.integer_if("checkpoint.every", 0, 9);
    c.subtree("model.config");
    return c.settings().dump();
  };
  EXPECT_EQ(settings(""), R"({"optimizer.lr":0.5})");
  EXPECT_EQ(settings("[optimizer]\nlr = 0.5\n"), settings(""));
  EXPECT_EQ(settings("checkpoint.every = 3\nmodel.config.k = 1\n"),
            R"({"checkpoint.every":3,"model.config":{"k":1},"optimizer.lr":0.5})");
}

TEST(ConfigFile, RelativePathsCountFromItsFolder) {
  const ConfigFile c = ConfigFile::parse("", "recipes/a.toml");
  EXPECT_EQ(c.beside("b.jsonl"), "recipes/b.jsonl");
  EXPECT_EQ(c.beside("../runs/x"), "runs/x");
  EXPECT_EQ(c.beside("/abs/x"), "/abs/x");
  EXPECT_EQ(parse("").beside("b.jsonl"), "b.jsonl");
}

TEST(ConfigFile, AValueFromElsewhereReplacesTheFilesOwn) {
  ConfigFile c = parse("a = 1\n");
  c.override_with("a", Json(2));
  EXPECT_EQ(c.integer("a", 0, 9), 2);
  EXPECT_EQ(c.settings().dump(), R"({"a":2})");
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
  c.integer("n", 0, 99);  // the first question is kept, but a value is now required
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
}  // namespace r1::config_file_test
