#include "recipe/recipe.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "eval/evaluate.h"
#include "formats/config_file.h"
#include "formats/jsonl.h"
#include "recipe/report.h"
#include "recipe/stages.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

struct Stage {
  std::string name, kind;
  std::string config;  // path of the stage's own file
  std::string model;   // "": the stage's own business
  std::string task;
  int64_t problems = 0;
  EvalOptions eval;
};

struct Recipe {
  std::string name;
  uint64_t seed = 0;
  fs::path out;
  std::vector<Stage> stages;
  std::string fingerprint;
};

Recipe read_recipe(const fs::path& path, const RecipeOptions& options) {
  ConfigFile file = ConfigFile::read(path);
  if (options.seed) file.override_with("seed", Json(static_cast<int64_t>(*options.seed)));
  if (!options.out.empty()) file.override_with("out", Json(options.out));
  Recipe recipe;
  recipe.name = file.text("name");
  recipe.seed = static_cast<uint64_t>(file.integer_or("seed", 0, 0, INT64_MAX));
  recipe.out = file.text_or("out", "runs/" + recipe.name);
  const int64_t count = file.array_size("stage");
  if (count == 0) file.fail("stage", "is missing: a recipe is a list of [[stage]]");
  for (int64_t i = 0; i < count; ++i) {
    const auto key = [&](const char* name) { return fmt::format("stage[{}].{}", i, name); };
    Stage stage;
    stage.name = file.text(key("name"));
    if (stage.name.empty() || stage.name.find_first_of("/\\.") != std::string::npos) {
      file.fail(key("name"), "is no plain folder name");
    }
    for (const Stage& other : recipe.stages) {
      if (other.name == stage.name)
        file.fail(key("name"), fmt::format("is \"{}\", as an earlier stage's", stage.name));
    }
    stage.kind = file.choice_or(key("kind"), "", {"pretrain", "grpo", "eval"});
    stage.model = file.text_or(key("model"), "");
    if (stage.model.starts_with("@")) {
      bool known = false;
      for (const Stage& other : recipe.stages)
        known = known || (other.kind != "eval" && "@" + other.name == stage.model);
      if (!known)
        file.fail(key("model"),
                  fmt::format("is \"{}\": no earlier stage of that name makes a model", stage.model));
    }
    if (stage.kind == "eval") {
      if (stage.model.empty()) file.fail(key("model"), "is missing");
      stage.task = file.text(key("task"));
      stage.problems = file.integer_or(key("problems"), 256, 1, 1 << 24);
      stage.eval.samples = file.integer_or(key("samples"), 4, 1, 1 << 16);
      stage.eval.temperature = file.number_or(key("temperature"), 1.0, 0, 100);
      stage.eval.max_tokens = file.integer_or(key("max_tokens"), 256, 1, 1 << 24);
      stage.eval.batch = file.integer_or(key("batch"), 512, 1, 1 << 20);
    } else {
      stage.config = (path.parent_path() / file.text(key("config"))).string();
    }
    recipe.stages.push_back(std::move(stage));
  }
  file.finish();
  recipe.fingerprint = file.fingerprint();
  return recipe;
}

// An evaluation's samples and figures; one that is already there for the same weights and settings is used
// again.
Json run_eval(const Stage& stage, uint64_t seed, const fs::path& out, const fs::path& model_path,
              ThreadPool& threads, RecipeReporter& reporter) {
  const ModelBundle bundle = ModelBundle::load(model_path);
  const std::string key = sha256_hex(fmt::format("{} {} {} {} {} {} {}", stage.task, stage.problems,
                                                 stage.eval.samples, stage.eval.temperature,
                                                 stage.eval.max_tokens, seed, bundle.model.weights_sha256()));
  const fs::path summary = out / "eval.json";
  std::error_code ec;
  if (fs::exists(summary, ec)) {
    const Json before = read_json(summary);
    if (before.get_string_or("key", "") == key) {
      reporter.note(summary.string() + " is there already");
      return before;
    }
  }
  fs::create_directories(out, ec);
  if (ec) throw Error(fmt::format("{}: cannot be made: {}", out.string(), ec.message()));
  std::vector<Problem> problems;
  if (fs::exists(stage.task, ec)) {
    problems = read_problems(stage.task);
    if (static_cast<int64_t>(problems.size()) > stage.problems)
      problems.resize(static_cast<size_t>(stage.problems));
  } else {
    for (int64_t i = 0; i < stage.problems; ++i) {
      problems.push_back(make_problem(stage.task, 0, static_cast<uint64_t>(i), Split::held_out));
    }
  }
  Arena arena;
  Context ctx{.arena = arena, .threads = threads};
  EvalOptions options = stage.eval;
  options.seed = seed;
  const EvalResult result = evaluate(bundle, ctx, problems, options,
                                     [&](int64_t done, int64_t total) { reporter.progress(done, total); });
  JsonlWriter samples(out / "samples.jsonl");
  for (const EvalSample& s : result.rows)
    samples.write(sample_row(problems[static_cast<size_t>(s.problem)], s));
  samples.close();
  Json json = to_json(result);
  json.set("task", stage.task).set("model", model_path.string()).set("key", key);
  write_file_atomically(summary, json.dump(2) + "\n");
  return json;
}

}  // namespace

RecipeResult run_recipe(const fs::path& config, const RecipeOptions& options, ThreadPool& threads,
                        RecipeReporter& reporter) {
  const Recipe recipe = read_recipe(config, options);
  std::error_code ec;
  const fs::path index = recipe.out / "recipe.json";
  if (fs::exists(index, ec)) {
    if (!options.resume) {
      throw Error(
          fmt::format("{}: holds a run of this recipe already: add --resume to go on with it or to see it "
                      "again, or remove it",
                      recipe.out.string()));
    }
    if (read_json(index).get_string("config_sha256") != recipe.fingerprint) {
      throw Error(fmt::format("{}: was made by another version of {}: remove it, or name another out",
                              recipe.out.string(), config.string()));
    }
  }
  fs::create_directories(recipe.out, ec);
  if (ec)
    throw Error(fmt::format("{}: the run directory cannot be made: {}", recipe.out.string(), ec.message()));
  RecipeResult result;
  result.out = recipe.out;
  result.summary = Json::object();
  result.summary.set("recipe", recipe.name).set("config_sha256", recipe.fingerprint);
  result.summary.set("seed", static_cast<int64_t>(recipe.seed)).set("stages", Json::object());
  const auto write_index = [&] { write_file_atomically(index, result.summary.dump(2) + "\n"); };
  write_index();
  Json stages = Json::object();
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const Stage& stage = recipe.stages[i];
    reporter.stage(stage.name, stage.kind, static_cast<int64_t>(i) + 1,
                   static_cast<int64_t>(recipe.stages.size()));
    const fs::path out = recipe.out / stage.name;
    const std::string model =
        stage.model.starts_with("@") ? (recipe.out / stage.model.substr(1) / "model").string() : stage.model;
    Json entry = Json::object();
    entry.set("kind", stage.kind);
    if (stage.kind == "eval") {
      const Json figures = run_eval(stage, recipe.seed, out, model, threads, reporter);
      reporter.evaluated(stage.name, figures);
      entry.set("result", figures);
    } else {
      const StageOverrides overrides{.seed = recipe.seed, .out = out.string(), .model = model};
      // A stage of this recipe that was begun is gone on with whenever the recipe is: its own check of
      // settings stands.
      const TrainOptions train{.resume = options.resume, .stop_after_steps = 0};
      result.model = stage.kind == "grpo"
                         ? run_grpo_config(stage.config, train, threads, reporter, overrides)
                         : run_pretrain_config(stage.config, train, threads, reporter, overrides);
      entry.set("model", result.model.string());
    }
    stages.set(stage.name, std::move(entry));
    result.summary.set("stages", stages);
    write_index();
  }
  reporter.note("the report is " + write_recipe_report(recipe.out, config).string());
  return result;
}

}  // namespace r1
