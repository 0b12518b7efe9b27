// Pipelines: stages build on each other, optional stages are left out unless they are asked for, and a
// finished stage is used again.
#include "recipe/recipe.h"

#include "formats/json.h"
#include "tests/train/train_test_util.h"
#include "train/train_options.h"

namespace r1::recipe_test {
namespace {

class SilentRecipe : public RecipeReporter {
 public:
  void stage(const std::string& name, const std::string&, int64_t, int64_t) override {
    stages.push_back(name);
  }
  void evaluated(const std::string&, const Json&) override {}
  void progress(int64_t, int64_t) override {}
  void step(const Json&, int64_t) override { ++steps; }
  void note(const std::string&) override {}
  std::vector<std::string> stages;
  int steps = 0;
};

class Recipes : public RunFolder {
 protected:
  // The stages: before (eval), rest (distillation into the base, optional), after (eval, optional).
  std::filesystem::path recipe(const std::string& change = "", const std::string& to = "") const {
    write("rest.toml", "name = \"rest\"\nteacher = \"" + std::string(R1_SOURCE_DIR) +
                           "/models/r1-nano\"\nstudent = \"" + base() +
                           "\"\n[data]\nproblems = 8\nepochs = 1\n[rollout]\nsamples = 2\nmax_tokens = 80\n" +
                           "[batch]\ntokens = 200\n");
    const std::string eval =
        "kind = \"eval\"\ntask = \"countdown3\"\nproblems = 4\nsamples = 1\nmax_tokens = 40\n";
    std::string text =
        "name = \"t\"\nout = \"" + (root / "out").string() + "\"\n[[stage]]\nname = \"before\"\nmodel = \"" +
        base() + "\"\n" + eval +
        "[[stage]]\nname = \"rest\"\nkind = \"distill\"\nconfig = \"rest.toml\"\noptional = true\n" +
        "[[stage]]\nname = \"after\"\nmodel = \"@rest\"\noptional = true\n" + eval;
    if (!change.empty()) text.replace(text.find(change), change.size(), to);
    return write("recipe.toml", text);
  }
  std::string failure(const std::filesystem::path& config, const RecipeOptions& options = {}) const {
    ThreadPool threads(1);
    SilentRecipe reporter;
    try {
      run_recipe(config, options, threads, reporter);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST_F(Recipes, OptionalStagesWaitUntilTheyAreAskedFor) {
  ThreadPool threads(2);
  SilentRecipe first, all, again;
  const RecipeResult some = run_recipe(recipe(), {}, threads, first);
  EXPECT_EQ(first.stages, std::vector<std::string>{"before"});
  EXPECT_EQ(some.left_out, 2);
  const RecipeResult rest =
      run_recipe(recipe(), {.resume = true, .all = true, .seed = {}, .out = ""}, threads, all);
  EXPECT_EQ(all.stages, (std::vector<std::string>{"before", "rest", "after"}));
  EXPECT_EQ(rest.left_out, 0);
  EXPECT_GT(all.steps, 0);
  const Json& stages = rest.summary.at("stages");
  EXPECT_GT(stages.at("rest").at("tokens").get_int("trained"), 0);
  EXPECT_GT(stages.at("rest").at("tokens").get_int("teacher_sampled"), 0);
  EXPECT_EQ(stages.at("after").at("result").get_int("problems"), 4);
  run_recipe(recipe(), {.resume = true, .all = true, .seed = {}, .out = ""}, threads, again);
  EXPECT_EQ(again.steps, 0) << "a finished stage was run again";
}

TEST_F(Recipes, MemoryLimitIsEveryStages) {
  RecipeOptions options;
  options.memory_limit = 1 << 20;
  EXPECT_NE(failure(recipe(), options).find("stage before needs about "), std::string::npos);
}

TEST_F(Recipes, TheBestEvaluatedModelIsNamed) {
  ThreadPool threads(2);
  SilentRecipe reporter;
  const std::string eval = "kind = \"eval\"\nproblems = 24\nsamples = 1\nmax_tokens = 60\n";
  const auto stage = [&](const std::string& name, const std::string& model, const std::string& task) {
    return "[[stage]]\nname = \"" + name + "\"\nmodel = \"" + model + "\"\ntask = \"" + task + "\"\n" + eval;
  };
  const auto config = write("best.toml", "name = \"t\"\nout = \"" + (root / "out").string() + "\"\n" +
                                             stage("base", "r1-nano-base", "countdown3") +
                                             stage("trained", "r1-nano", "countdown3") +
                                             stage("other", "r1-nano-base", "arithmetic:1"));
  const RecipeResult result = run_recipe(config, {}, threads, reporter);
  const Json& stages = result.summary.at("stages");
  ASSERT_GT(stages.at("trained").at("result").get_number("pass_at_1"),
            stages.at("base").at("result").get_number("pass_at_1"));
  const Json index = read_json(root / "out/recipe.json");
  EXPECT_EQ(index.get_string("best_stage"), "trained");
  EXPECT_TRUE(index.get_string("best").ends_with("models/r1-nano")) << index.get_string("best");
  EXPECT_EQ(result.best, index.get_string("best"));
}

TEST_F(Recipes, AForeignFolderIsRefusedAndStaysAsItIs) {
  std::filesystem::create_directories(root / "out/rest/model");
  write("out/rest/model/thesis.tex", "mine");
  EXPECT_NE(failure(recipe(), {.resume = true}).find("holds rest, which is no part of a run of r1"),
            std::string::npos);
  EXPECT_EQ(read_file(root / "out/rest/model/thesis.tex"), "mine");
  EXPECT_FALSE(std::filesystem::exists(root / "out/recipe.json"));
}

// A stage's own file is read before the first stage runs, and nothing is created.
TEST_F(Recipes, AMistakeInAStagesFileIsSaidBeforeAnythingRuns) {
  const auto config = recipe();
  std::string text = read_file(root / "rest.toml");
  write("rest.toml", text.replace(text.find("tokens = 200"), 12, "token = 200"));
  EXPECT_NE(failure(config, {.all = true}).find("rest.toml:11: unknown key batch.token"), std::string::npos)
      << failure(config, {.all = true});
  EXPECT_FALSE(std::filesystem::exists(root / "out"));
}

TEST_F(Recipes, AResumptionWithAnotherSeedIsRefusedByName) {
  ThreadPool threads(2);
  SilentRecipe reporter;
  run_recipe(recipe(), {}, threads, reporter);
  EXPECT_NE(failure(recipe(), {.resume = true, .seed = 5}).find("out: seed is 5, the run was begun with 0"),
            std::string::npos);
  // Evaluations may change. They are then made again.
  EXPECT_EQ(failure(recipe("problems = 4", "problems = 3"), {.resume = true}), "no error");
  EXPECT_EQ(read_json(root / "out/recipe.json").at("stages").at("before").at("result").get_int("problems"),
            3);
}

TEST_F(Recipes, AStoppedRecipeGoesOnToTheSameModel) {
  ThreadPool threads(2);
  SilentRecipe reporter;
  run_recipe(recipe(), {.all = true}, threads, reporter);
  const std::string want = weights_of(root / "out/rest/model");
  std::filesystem::remove_all(root / "out");
  int stops = 0;
  for (bool done = false; !done && stops < 100;) {
    int looks = 0;
    RecipeOptions options{.resume = true, .all = true};
    options.stop = [&] { return ++looks > 14 + stops; };
    try {
      run_recipe(recipe(), options, threads, reporter);
      done = true;
    } catch (const Stopped&) {
      ++stops;
    }
  }
  EXPECT_GT(stops, 2);
  EXPECT_TRUE(weights_of(root / "out/rest/model") == want);
}

TEST_F(Recipes, PathsCountFromTheRecipesFolder) {
  std::filesystem::create_directories(root / "here");
  std::filesystem::copy(base(), root / "model");
  write("here/problems.jsonl",
        "{\"task\": \"countdown3\", \"prompt\": \"Use 3, 5 and 7 to make 24.\", \"gold\": "
        "{\"numbers\": [3, 5, 7], \"target\": 24}}\n");
  const auto config = write(
      "here/r.toml",
      "name = \"t\"\nout = \"" + (root / "out").string() +
          "\"\n[[stage]]\nname = \"e\"\nkind = \"eval\"\nmodel = \"../model\"\ntask = \"problems.jsonl\"\n"
          "samples = 1\nmax_tokens = 9\n");
  EXPECT_EQ(failure(config), "no error");
  EXPECT_EQ(read_json(root / "out/e/eval.json").get_int("problems"), 1);
}

TEST_F(Recipes, MistakesAreOneClearLine) {
  EXPECT_NE(failure(recipe("@rest", "@best")).find("no earlier stage of that name makes a model"),
            std::string::npos);
  EXPECT_NE(failure(recipe("model = \"@rest\"\noptional = true\n", "model = \"@rest\"\n"))
                .find("make this stage optional too"),
            std::string::npos);
  EXPECT_NE(failure(recipe("\"distill\"", "\"distil\"")).find("distill"), std::string::npos);
  EXPECT_NE(failure(recipe("\"countdown3\"", "\"countdwn3\""))
                .find("unknown task countdwn3 (did you mean countdown3?)"),
            std::string::npos);
  EXPECT_NE(failure(recipe("\"after\"", "\"before\"")).find("as an earlier stage's"), std::string::npos);
}

}  // namespace
}  // namespace r1::recipe_test
