// Folders to which a run may write. Everything else in them stays untouched.
#include "train/out_folder.h"

#include <cstdlib>
#include <map>

#include "base/error.h"
#include "tests/train/train_test_util.h"

namespace r1::out_folder_test {
namespace {

namespace fs = std::filesystem;

class OutFolder : public RunFolder {
 protected:
  void make(const std::string& name, const std::string& text = "x") const {
    fs::create_directories((root / name).parent_path());
    write(name, text);
  }
  void make_run(const std::string& name) const {
    make(name + "/run.json", R"({"kind": "grpo", "config_sha256": "0", "numerics": "cpu-f32"})");
    for (const char* file :
         {"config.toml", "metrics.jsonl", "samples.jsonl", "report.html", "events.out.tfevents.1.r1",
          "checkpoints/step-000001/trainer.json", "checkpoints/step-000001/reference/model.safetensors",
          "checkpoints/step-000002.tmp/model.safetensors", "model/config.json", "run.json.tmp"}) {
      make(name + "/" + file);
    }
  }
  void make_recipe(const std::string& name) const {
    make(name + "/recipe.json", R"({"recipe": "r", "config_sha256": "0", "stages": {"old": {}}})");
    make(name + "/recipe.toml");
    make_run(name + "/zero");
    make(name + "/before/samples.jsonl");  // an evaluation that was killed before eval.json was written
    make(name + "/old/eval.json", "{}");
  }
  // Returns the contents of every file in the tree.
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(root))
      all[entry.path().string()] = entry.is_regular_file() ? read_file(entry.path()) : "";
    return all;
  }
  template <class Check>
  static std::string refusal(const Check& check) {
    try {
      check();
    } catch (const Error& e) {
      return e.what();
    }
    return "taken";
  }
  std::string run(const fs::path& out) const {
    return refusal([&] { check_run_folder(out); });
  }
  std::string recipe(const fs::path& out) const {
    return refusal([&] { check_recipe_folder(out, {"before", "zero"}); });
  }
};

TEST_F(OutFolder, TakesWhatIsNewEmptyOrARun) {
  fs::create_directories(root / "empty");
  make_run("run");
  make_recipe("recipe");
  make("torn/run.json.tmp", "{");
  make("torn-recipe/recipe.json.tmp", "{");
  fs::create_directory_symlink(root / "run", root / "link");
  const auto before = contents();
  for (const char* name : {"new", "new/deeper", "empty", "empty/", "run", "run/", "link", "torn"})
    EXPECT_EQ(run(root / name), "taken") << name;
  for (const char* name : {"new", "empty", "recipe", "torn-recipe"})
    EXPECT_EQ(recipe(root / name), "taken") << name;
  EXPECT_EQ(check_run_folder(root / "run/"), root / "run");
  EXPECT_EQ(contents(), before) << "looking changed something";
}

TEST_F(OutFolder, RefusesWhatMayBeSomebodyElses) {
  make("thesis/model/thesis.tex");
  make("file");
  make("strange/run.json", R"({"runs": 3})");
  make("broken/run.json", "{");
  make_run("run");
  make_recipe("recipe");
  fs::create_directory_symlink(root / "thesis", root / "link");
  fs::create_directory_symlink(root / "nowhere", root / "dangling");
  const auto before = contents();
  EXPECT_NE(run("").find("must name a folder"), std::string::npos);
  EXPECT_NE(run("/").find("is the root folder"), std::string::npos);
  EXPECT_NE(run("/tmp/..").find("is the root folder"), std::string::npos);
  EXPECT_NE(run(root / "file").find("is a file"), std::string::npos);
  EXPECT_NE(run(root / "file/deeper/run").find("cannot be made: "), std::string::npos);
  EXPECT_NE(run(root / "dangling").find("is a link to"), std::string::npos);
  for (const char* name : {"thesis", "thesis/", "link"}) {
    EXPECT_NE(run(root / name).find("holds model, which is no part of a run"), std::string::npos) << name;
    EXPECT_NE(recipe(root / name).find("holds model, which is no part of a run"), std::string::npos) << name;
  }
  for (const char* name : {"strange", "broken"})
    EXPECT_NE(run(root / name).find("holds run.json, which is no part"), std::string::npos) << name;
  EXPECT_NE(run(root / "recipe").find("holds a recipe's run"), std::string::npos);
  EXPECT_NE(recipe(root / "run").find("holds the run of one stage"), std::string::npos);
  EXPECT_EQ(contents(), before) << "looking changed something";
}

TEST_F(OutFolder, RefusesTheHomeFolderEvenIfItIsEmpty) {
  const char* home = std::getenv("HOME");
  const std::string saved = home == nullptr ? "" : home;
  fs::create_directories(root / "home");
  ::setenv("HOME", (root / "home").c_str(), 1);
  EXPECT_NE(run(root / "home").find("is the home folder"), std::string::npos);
  EXPECT_EQ(run(root / "home/runs"), "taken");
  home == nullptr ? ::unsetenv("HOME") : ::setenv("HOME", saved.c_str(), 1);
}

TEST_F(OutFolder, ARunWithAnythingElseInItIsRefused) {
  for (const char* extra : {"notes.md", "model2/config.json", "checkpoints/notes.md",
                            "checkpoints/best/config.json", "checkpoints/step-000001/notes.md"}) {
    SCOPED_TRACE(extra);
    fs::remove_all(root / "run");
    make_run("run");
    make(std::string("run/") + extra);
    const fs::path first(extra);
    EXPECT_NE(run(root / "run").find("which is no part of a run of r1"), std::string::npos)
        << run(root / "run");
    EXPECT_TRUE(fs::exists(root / "run" / extra));
  }
  make_run("linked");
  fs::remove_all(root / "linked/checkpoints");
  fs::create_directory_symlink(root / "run/checkpoints", root / "linked/checkpoints");
  EXPECT_NE(run(root / "linked").find("holds checkpoints"), std::string::npos);
  make_recipe("recipe");
  make("recipe/photos/a.jpg");
  EXPECT_NE(recipe(root / "recipe").find("holds photos"), std::string::npos);
}

TEST_F(OutFolder, AModelWithForeignFilesIsNotReplaced) {
  make("run/model/config.json", "{}");
  make("run/model/model.safetensors");
  EXPECT_EQ(refusal([&] { check_model_folder(root / "run/model"); }), "taken");
  make("run/model/model.gguf");
  EXPECT_NE(refusal([&] { check_model_folder(root / "run/model"); }).find("holds model/model.gguf"),
            std::string::npos);
}

TEST(FolderNames, AreOnePlainWord) {
  for (const char* name : {"a", "r1-nano", "a b", "..a", ".hidden", "ä"})
    EXPECT_TRUE(is_folder_name(name)) << name;
  for (const char* name : {"", ".", "..", "a/b", "/", "a\\b", "a\nb", "\x7f"})
    EXPECT_FALSE(is_folder_name(name)) << name;
}

}  // namespace
}  // namespace r1::out_folder_test
