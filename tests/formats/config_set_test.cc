// --set KEY=VALUE has the same effect as the key in the file.
#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/config_file.h"

namespace r1::config_set_test {
namespace {

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

ConfigFile some_file() {
  return ConfigFile::parse("model = \"m\"\n[rollout]\ngroup = 4\n[[stage]]\nname = \"a\"\n", "dir/f.toml");
}

TEST(ConfigSet, ValuesAreTomlAndWordsAreStrings) {
  ConfigFile file = some_file();
  for (const char* a :
       {"rollout.group=8", "optimizer.betas=[0.9, 0.95]", "filter.dynamic = true", "data.task=countdown3",
        "out=\"a b\"", "model=runs/x/model", "stage[0].name=b", "lr=1e-4"})
    file.set(a);
  EXPECT_EQ(file.integer("rollout.group", 1, 9), 8);
  EXPECT_EQ(file.numbers_or("optimizer.betas", {}), (std::vector<double>{0.9, 0.95}));
  EXPECT_TRUE(file.boolean_or("filter.dynamic", false));
  EXPECT_EQ(file.text("data.task"), "countdown3");
  EXPECT_EQ(file.text("out"), "a b");
  EXPECT_EQ(file.text("model"), "runs/x/model");
  EXPECT_EQ(file.array_size("stage"), 1);
  EXPECT_EQ(file.text("stage[0].name"), "b");
  EXPECT_EQ(file.number_or("lr", 0, 0, 1), 1e-4);
  file.finish();
}

TEST(ConfigSet, SettingsAreThoseOfAFileThatSaysSo) {
  ConfigFile set = ConfigFile::parse("a = 1\n", "f.toml"),
             written = ConfigFile::parse("a = 1\n[b]\nc = 2\n", "f.toml");
  set.set("b.c=2");
  for (ConfigFile* file : {&set, &written}) {
    file->integer("a", 0, 9);
    file->integer("b.c", 0, 9);
  }
  EXPECT_EQ(set.settings(), written.settings());
}

TEST(ConfigSet, ListsOfTablesReplaceTheFilesOwn) {
  ConfigFile file = some_file();
  file.set("stage=[{name = \"x\"}, {name = \"y\"}]");
  EXPECT_EQ(file.array_size("stage"), 2);
  EXPECT_EQ(file.text("stage[1].name"), "y");
  file.set("stage=[]");
  EXPECT_EQ(file.array_size("stage"), 0);
}

TEST(ConfigSet, ASubtreeHasTheNewValue) {
  ConfigFile file = ConfigFile::parse("[model.config]\nhidden_size = 8\n", "f.toml");
  file.set("model.config.hidden_size=16");
  file.set("model.config.rope.theta=1.5");
  const Json tree = file.subtree("model.config");
  EXPECT_EQ(tree.get_int("hidden_size"), 16);
  EXPECT_EQ(tree.at("rope").get_number("theta"), 1.5);
}

TEST(ConfigSet, RelativePathsCountFromTheWorkingDirectory) {
  ConfigFile file = some_file();
  file.set("data.files=[\"a.jsonl\"]");
  EXPECT_EQ(file.beside("a.jsonl", "data.files"), "a.jsonl");
  EXPECT_EQ(file.beside("m", "model"), "dir/m");
}

TEST(ConfigSet, ErrorsNameTheOption) {
  const auto read = [](const char* assignment) {
    return error_of([&] {
      ConfigFile file = some_file();
      file.set(assignment);
      file.text_or("model", "");
      file.integer_or("rollout.group", 1, 2, 1024);
      file.integer_or("rollout.max_tokens", 1, 1, 1024);
      file.array_size("stage");
      file.text_or("stage[0].name", "");
      file.finish();
    });
  };
  EXPECT_EQ(read("rollout.group=0"),
            "--set rollout.group=0: rollout.group is 0; it must be between 2 and 1024");
  EXPECT_EQ(read("rollout.group=many"), "--set rollout.group=many: rollout.group is not a whole number");
  EXPECT_EQ(read("rollout.max_token=7"),
            "--set rollout.max_token=7: unknown key rollout.max_token (did you mean rollout.max_tokens?)");
  EXPECT_EQ(read("rollout.group"),
            "--set rollout.group cannot be read: it must be KEY=VALUE, for example --set rollout.group=8");
  EXPECT_EQ(read("rollout..group=1"),
            "--set rollout..group=1 cannot be read: it must be KEY=VALUE, for example --set rollout.group=8");
  EXPECT_EQ(read("model="), "--set model= has no value: write \"\" for an empty string");
  EXPECT_NE(read("model=[1, 2").find("the value is not valid TOML"), std::string::npos);
  EXPECT_NE(read("model=\"x").find("the value is not valid TOML"), std::string::npos);
  EXPECT_NE(read("model=\"x\"\nrollout.group=3").find("has more than one value"), std::string::npos);
}

TEST(ConfigSet, TheCopyOfARunSaysWhatWasSet) {
  ConfigFile file = some_file();
  file.set("rollout.group=8");
  file.set("data.task=x y");
  EXPECT_NE(
      file.annotated_copy().find("# Options of the command: --set rollout.group=8 --set 'data.task=x y'\n"),
      std::string::npos)
      << file.annotated_copy();
  EXPECT_EQ(ConfigFile::parse(file.annotated_copy(), "copy").integer_or("rollout.group", 0, 0, 9), 4);
}

}  // namespace
}  // namespace r1::config_set_test
