#include "recipe/recipe.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "engine/ask.h"
#include "eval/evaluate.h"
#include "formats/config_file.h"
#include "formats/jsonl.h"
#include "recipe/inputs.h"
#include "recipe/report.h"
#include "recipe/stages.h"
#include "reward/problem_file.h"
#include "train/memory.h"
#include "train/out_folder.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

struct Stage {
  std::string name, kind;
  std::string config;   // the path of the stage's own file
  std::string model;    // empty: the stage's own file names it
  std::string teacher;  // empty: the stage's own file names it
  bool optional = false;
  std::string task;
  int64_t problems = 0;
  EvalOptions eval;
  std::vector<std::string> set;           // KEY=VALUE; replaces settings of the stage's own file
  Numerics numerics = Numerics::cpu_f32;  // for evaluations only; a training stage's own file sets it
};

struct Recipe {
  std::string name;
  uint64_t seed = 0;
  fs::path out;
  std::vector<Stage> stages;
};

std::string key_of(size_t stage, const char* name) {
  return fmt::format("stage[{}].{}", stage, name);
}

// Checks a source "@STAGE": it must name an earlier stage that makes a model and that runs whenever `stage`
// runs.
void check_source(ConfigFile& file, const std::string& key, const Stage& stage, const std::string& source,
                  const std::vector<Stage>& earlier) {
  if (!source.starts_with("@")) return;
  for (const Stage& other : earlier) {
    if (other.kind == "eval" || "@" + other.name != source) continue;
    if (other.optional && !stage.optional)
      file.fail(key, fmt::format("is \"{}\", which is optional: make this stage optional too", source));
    return;
  }
  file.fail(key, fmt::format("is \"{}\": no earlier stage of that name makes a model", source));
}

// Finds a file of problems or a task by name, so that a mistake is reported before the first stage runs.
// Returns the file's path or the task's name.
std::string find_eval_task(const ConfigFile& file, const std::string& key, const std::string& task) {
  const fs::path problems = file.beside(task, key);
  std::error_code ec;
  if (fs::is_regular_file(problems, ec)) {
    (void)read_problems(problems.string());
    return problems.string();
  }
  try {
    check_task(task, Split::held_out);
  } catch (const Error& e) {
    file.fail(key, fmt::format("is no file, and {}", e.what()));
  }
  return task;
}

// Returns the path of the model that stage "@STAGE" makes.
fs::path made_by(const Recipe& recipe, const std::string& source) {
  return recipe.out / source.substr(1) / "model";
}

// Returns the values that replace the stage's own settings.
StageOverrides overrides_of(const Recipe& recipe, const Stage& stage, const std::string& device) {
  return {.seed = recipe.seed,
          .out = (recipe.out / stage.name).string(),
          .model = stage.model,
          .teacher = stage.teacher,
          .device = device,
          .set = stage.set};
}

// Finds what the stages name and reads the files of those that will run, so that mistakes are reported before
// the first stage runs.
void find_inputs(const ConfigFile& file, Recipe& recipe, const RecipeOptions& options) {
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    Stage& stage = recipe.stages[i];
    const auto find = [&](const char* key, std::string& source) {
      if (source.empty()) return;
      source = (source.starts_with("@") ? made_by(recipe, source) : model_of(file, key_of(i, key), source))
                   .string();
    };
    find("model", stage.model);
    find("teacher", stage.teacher);
    if (stage.kind == "eval") {
      stage.task = find_eval_task(file, key_of(i, "task"), stage.task);
      continue;
    }
    stage.config = file.beside(stage.config, key_of(i, "config")).string();
    std::error_code ec;
    if (!fs::is_regular_file(stage.config, ec))
      file.fail(key_of(i, "config"), fmt::format("is no file: {} is not there", stage.config));
  }
  for (const Stage& stage : recipe.stages) {
    if (stage.kind != "eval" && (options.all || !stage.optional))
      check_stage_config(stage.kind, stage.config, overrides_of(recipe, stage, options.device));
  }
}

// Reads the recipe's own file and opens no other.
Recipe read_recipe(ConfigFile& file) {
  Recipe recipe;
  recipe.name = read_name(file, "name");
  recipe.seed = static_cast<uint64_t>(file.integer_or("seed", 0, 0, INT64_MAX));
  recipe.out = read_out(file, recipe.name);
  const int64_t count = file.array_size("stage");
  if (count == 0) file.fail("stage", "is missing: a recipe is a list of [[stage]]");
  for (int64_t i = 0; i < count; ++i) {
    const auto key = [&](const char* name) { return key_of(static_cast<size_t>(i), name); };
    Stage stage;
    stage.name = read_name(file, key("name"));
    if (stage.name.find('.') != std::string::npos)
      file.fail(key("name"), fmt::format("is \"{}\"; a stage's name must not have a dot", stage.name));
    for (const Stage& other : recipe.stages) {
      if (other.name == stage.name)
        file.fail(key("name"), fmt::format("is \"{}\", as an earlier stage's", stage.name));
    }
    stage.kind = file.choice_or(key("kind"), "", {"pretrain", "sft", "grpo", "ppo", "distill", "eval"});
    stage.optional = file.boolean_or(key("optional"), false);
    stage.model = file.text_or(key("model"), "");
    check_source(file, key("model"), stage, stage.model, recipe.stages);
    if (stage.kind == "distill") {
      stage.teacher = file.text_or(key("teacher"), "");
      check_source(file, key("teacher"), stage, stage.teacher, recipe.stages);
    }
    if (stage.kind == "eval") {
      if (stage.model.empty()) file.fail(key("model"), "is missing");
      stage.task = file.text(key("task"));
      stage.problems = file.integer_or(key("problems"), 256, 1, 1 << 20);
      stage.numerics = read_sampling_numerics(file, key("numerics"), default_numerics(DType::f32));
      SamplingSettings fallback = stage.eval.sampling;
      fallback.batch = 512;
      stage.eval.sampling =
          read_sampling_settings(file, fmt::format("stage[{}]", i), fallback, {.top_p = false});
    } else {
      stage.config = file.text(key("config"));
    }
    recipe.stages.push_back(std::move(stage));
  }
  file.finish();
  return recipe;
}

// Throws Error if the evaluation does not fit into memory: EvalOptions bound the batch, not the memory.
void check_eval_memory(const ModelBundle& bundle, const Stage& stage, std::span<const Problem> problems,
                       int64_t limit, ThreadPool& threads) {
  const ModelConfig& model = bundle.model.config();
  MemoryEstimate memory = used_model(model, stage.numerics, activation_dtype(stage.numerics));
  if (row_of(stage.numerics).product == Product::q8act) memory.packed = bundle.model.weight_bytes(true);
  memory.program = program_bytes(memory);
  const std::vector<int64_t> prompts = prompt_lengths(bundle, problems, stage.eval.prompt);
  add_sampling(memory, model, stage.numerics, sampling_load(stage.eval.sampling, prompts), threads);
  check_memory(memory, limit, "stage " + stage.name, "its batch or max_tokens",
               bundle.model.memory().device());
}

// Runs an evaluation and writes its samples and figures. Existing figures for the same weights and settings
// are used again.
Json run_eval(const Stage& stage, uint64_t seed, const fs::path& out, const RecipeOptions& settings,
              ThreadPool& threads, RecipeReporter& reporter) {
  const fs::path& model_path = stage.model;
  const ModelBundle bundle =
      ModelBundle::load(model_path, activation_dtype(stage.numerics), WeightUse::inference,
                        memory_of(settings.device.empty() ? Device::cpu : device_from_name(settings.device)));
  std::error_code ec;
  const bool from_file = fs::is_regular_file(stage.task, ec);
  const std::string task = from_file ? content_of_files({stage.task}) : stage.task;
  const std::string key = sha256_hex(
      fmt::format("{} {} {} {} {} {} {} {} {}", task, stage.problems, stage.eval.sampling.samples,
                  stage.eval.sampling.params.temperature, stage.eval.sampling.max_tokens, seed,
                  name_of(stage.numerics), bundle.model.weights_sha256(), bundle.chat_template.text()));
  const fs::path summary = out / "eval.json";
  if (fs::exists(summary, ec)) {
    Json before = read_json(summary);
    if (before.get_string_or("key", "") == key) {
      reporter.note(summary.string() + " is there already");
      return before.set("model", model_path.string());  // the path by which this recipe names it
    }
  }
  std::vector<Problem> problems;
  size_t refused = 0;
  if (from_file) {
    ProblemFile file = read_problems(stage.task);
    refuse_problems(file, stage.task, [&](const Problem& problem) { check_room(bundle, problem); });
    if (!file.refused.empty()) reporter.note(refusal_notice(file));
    refused = file.refused.size();
    problems = std::move(file.problems);
    if (static_cast<int64_t>(problems.size()) > stage.problems)
      problems.resize(static_cast<size_t>(stage.problems));
  } else {
    for (int64_t i = 0; i < stage.problems; ++i) {
      problems.push_back(make_problem(stage.task, 0, static_cast<uint64_t>(i), Split::held_out));
    }
  }
  check_eval_memory(bundle, stage, problems, settings.memory_limit, threads);
  Workspace work(threads, stage.numerics, bundle.model.memory());
  EvalOptions options = stage.eval;
  options.seed = seed;
  const EvalResult result =
      evaluate(bundle, work.ctx, problems, options, [&](const EvalSample&, int64_t done, int64_t total) {
        reporter.progress(done, total);
        if (settings.stop && settings.stop())
          throw Stopped("stopped during an evaluation: it will be made again");
      });
  fs::create_directories(out, ec);
  if (ec) throw Error(fmt::format("{}: cannot be made: {}", out.string(), ec.message()));
  JsonlWriter samples(out / "samples.jsonl");
  for (const EvalSample& s : result.rows)
    samples.write(sample_row(problems[static_cast<size_t>(s.problem)], s));
  samples.close();
  Json json = to_json(result);
  if (refused > 0) json.set("rows_refused", refused);
  json.set("task", stage.task)
      .set("numerics", name_of(stage.numerics))
      .set("model", model_path.string())
      .set("key", key);
  write_file_atomically(summary, json.dump(2) + "\n");
  return json;
}

// Returns the number of tokens that a training stage has run through its model and, in a distillation,
// through the teacher.
Json tokens_of(const fs::path& out) {
  Json tokens = Json::object();
  const std::vector<Json> metrics = read_jsonl(out / "metrics.jsonl");
  if (!metrics.empty()) {
    tokens.set("trained", metrics.back().get_int("tokens"));
    if (const Json* sampled = metrics.back().find("sampled_tokens"))
      tokens.set("sampled", sampled->integer());
  }
  std::error_code ec;
  if (fs::exists(out / "teacher.json", ec))
    tokens.set("teacher_sampled", read_json(out / "teacher.json").get_int("sampled_tokens"));
  return tokens;
}

// Runs a stage and returns its entry in recipe.json.
Json run_stage(const Recipe& recipe, const Stage& stage, const RecipeOptions& options, ThreadPool& threads,
               RecipeReporter& reporter, RecipeResult& result) {
  const fs::path out = recipe.out / stage.name;
  Json entry = Json::object();
  entry.set("kind", stage.kind);
  if (stage.kind == "eval") {
    const Json figures = run_eval(stage, recipe.seed, out, options, threads, reporter);
    reporter.evaluated(stage.name, figures);
    entry.set("result", figures);
    return entry;
  }
  // If the recipe is resumed, its begun stages are resumed too. Each stage compares its settings itself.
  const TrainOptions train{.resume = options.resume,
                           .force = options.force,
                           .memory_limit = options.memory_limit,
                           .stop = options.stop};
  result.model = stage_runner(stage.kind)(stage.config, train, threads, reporter,
                                          overrides_of(recipe, stage, options.device));
  entry.set("model", result.model.string()).set("tokens", tokens_of(out));
  return entry;
}

// Returns the values that must not change when a recipe is resumed, under "seed", "stage zero", ...
Json identity_of(const Recipe& recipe) {
  Json json = Json::object();
  json.set("name", recipe.name).set("seed", static_cast<int64_t>(recipe.seed));
  for (const Stage& stage : recipe.stages) json.set("stage " + stage.name, stage.kind);
  return json;
}

void check_resumed_recipe(const fs::path& index, const Json& now) {
  const Json before = read_json(index);
  const std::string out = index.parent_path().string();
  if (!before.contains("settings")) {
    throw Error(fmt::format(
        "{}: was made by an earlier version of r1, which kept no settings to compare: name another "
        "out, or remove the folder",
        index.string()));
  }
  for (const auto& [key, value] : before.at("settings").members()) {
    const Json* is = now.find(key);
    if (is != nullptr && *is == value) continue;
    throw Error(fmt::format("{}: {} is {}, the run was begun with {}: set it back, or name another out", out,
                            key, is == nullptr ? "not there" : is->dump(), value.dump()));
  }
}

// Finds the best evaluation of the first evaluation's task. Of equal ones the last wins, because it was
// trained longest.
void find_best(RecipeResult& result) {
  std::string task;
  double best = -1;
  for (const auto& [name, stage] : result.summary.at("stages").members()) {
    if (stage.get_string("kind") != "eval") continue;
    const Json& figures = stage.at("result");
    if (task.empty()) task = figures.get_string("task");
    if (figures.get_string("task") != task || figures.get_number("pass_at_1") < best) continue;
    best = figures.get_number("pass_at_1");
    result.best = figures.get_string("model");
    result.best_stage = name;
  }
  if (!result.best.empty()) result.summary.set("best", result.best).set("best_stage", result.best_stage);
}

// Returns the folder if it may be used. Makes and changes nothing.
fs::path check_out(const Recipe& recipe, const RecipeOptions& options) {
  std::vector<std::string> names;
  for (const Stage& stage : recipe.stages) names.push_back(stage.name);
  fs::path out = check_recipe_folder(recipe.out, names);
  std::error_code ec;
  const fs::path index = out / "recipe.json";
  if (!fs::exists(index, ec)) return out;
  if (!options.resume) {
    throw Error(
        fmt::format("{}: holds a run of this recipe already: add --resume to go on with it or to see it "
                    "again, or remove it",
                    out.string()));
  }
  check_resumed_recipe(index, identity_of(recipe));
  return out;
}

// Applies --set. KEY=VALUE sets a key of the recipe's own file. STAGE.KEY=VALUE sets a key of the stage's
// file, or of its [[stage]] entry if it is an evaluation. Returns the assignments for the stages' files, by
// stage.
std::map<std::string, std::vector<std::string>> apply(const std::vector<std::string>& assignments,
                                                      ConfigFile& file) {
  std::map<std::string, std::vector<std::string>> of_stages;
  std::map<std::string, int64_t> stages;
  for (int64_t i = 0; i < file.array_size("stage"); ++i)
    stages.emplace(file.text_or(key_of(static_cast<size_t>(i), "name"), ""), i);
  for (const std::string& assignment : assignments) {
    const std::string key = assignment.substr(0, assignment.find('='));
    const size_t dot = key.find('.');
    const auto at = dot == std::string::npos ? stages.end() : stages.find(key.substr(0, dot));
    if (at == stages.end()) {
      file.set(assignment);
      continue;
    }
    const std::string of_stage = assignment.substr(dot + 1);
    const auto index = static_cast<size_t>(at->second);
    if (file.text_or(key_of(index, "kind"), "") == "eval") {
      file.set(fmt::format("stage[{}].{}", index, of_stage));
    } else {
      of_stages[at->first].push_back(of_stage);
    }
  }
  return of_stages;
}

}  // namespace

void read_recipe_keys(ConfigFile& file) {
  read_recipe(file);
}

RecipeResult run_recipe(const fs::path& config, const RecipeOptions& options, ThreadPool& threads,
                        RecipeReporter& reporter) {
  ConfigFile file = ConfigFile::read(config);
  const auto of_stages = apply(options.set, file);
  if (options.seed) file.override_with("seed", Json(static_cast<int64_t>(*options.seed)));
  if (!options.out.empty()) file.override_with("out", Json(options.out));
  Recipe recipe = read_recipe(file);
  for (Stage& stage : recipe.stages) {
    if (const auto at = of_stages.find(stage.name); at != of_stages.end()) stage.set = at->second;
  }
  find_inputs(file, recipe, options);
  recipe.out = check_out(recipe, options);
  std::error_code ec;
  fs::create_directories(recipe.out, ec);
  if (ec)
    throw Error(fmt::format("{}: the run directory cannot be made: {}", recipe.out.string(), ec.message()));
  RecipeResult result;
  result.out = recipe.out;
  result.summary = Json::object();
  const Json identity = identity_of(recipe);
  result.summary.set("recipe", recipe.name).set("config_sha256", sha256_hex(identity.dump()));
  result.summary.set("seed", static_cast<int64_t>(recipe.seed)).set("settings", identity);
  result.summary.set("stages", Json::object());
  const auto write_index = [&] {
    write_file_atomically(recipe.out / "recipe.json", result.summary.dump(2) + "\n");
  };
  write_index();
  std::vector<const Stage*> chosen;
  for (const Stage& stage : recipe.stages) {
    if (!stage.optional || options.all) chosen.push_back(&stage);
  }
  result.left_out = static_cast<int64_t>(recipe.stages.size() - chosen.size());
  Json stages = Json::object();
  for (size_t i = 0; i < chosen.size(); ++i) {
    const Stage& stage = *chosen[i];
    if (options.stop && options.stop()) throw Stopped("stopped before stage " + stage.name);
    reporter.stage(stage.name, stage.kind, static_cast<int64_t>(i) + 1, static_cast<int64_t>(chosen.size()));
    stages.set(stage.name, run_stage(recipe, stage, options, threads, reporter, result));
    result.summary.set("stages", stages);
    write_index();
  }
  find_best(result);
  write_index();
  reporter.note("the report is " + write_recipe_report(recipe.out, config).string());
  return result;
}

}  // namespace r1
