// Pipelines: stages build on each other, optional ones are left out until they are asked for, a finished
// stage is used again.
#include "recipe/recipe.h"

#include "tests/train/train_test_util.h"

namespace r1 {
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
  // before (eval), rest (distillation into the base, optional), after (eval, optional)
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
}  // namespace r1
