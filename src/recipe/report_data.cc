#include "recipe/report_data.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "base/text_util.h"
#include "formats/config_file.h"
#include "formats/hf_directory.h"

namespace r1 {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ec;
  return fs::exists(path, ec);
}

namespace {

// A stage's name becomes a path, and recipe.json may come from anybody, so the name must be plain.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find_first_of("/\\.") == std::string::npos;
}

void set_number(Json& to, std::string_view key, const Json& from, std::string_view name) {
  const Json* value = from.find(name);
  if (value != nullptr && value->is_number()) to.set(key, *value);
}

// The settings of a stage that its explanations quote.
constexpr std::array<const char*, 17> kQuoted{"data.task",       "data.problems",
                                              "rollout.prompts", "rollout.group",
                                              "rollout.samples", "rollout.max_tokens",
                                              "reward.accuracy", "reward.format",
                                              "reward.overlong", "reward.brevity",
                                              "loss.normalise",  "loss.kl",
                                              "loss.aggregate",  "keep",
                                              "rollout.epochs",  "rollout.minibatches",
                                              "optimizer.lr"};

Json quoted(const Json& settings) {
  Json out = Json::object();
  for (const char* key : kQuoted) {
    const Json* value = settings.is_object() ? settings.find(key) : nullptr;
    if (value != nullptr && (value->is_number() || value->is_string())) out.set(key, *value);
  }
  return out;
}

// Returns run.json, or an empty object if it is damaged: only the facts in it are then missing from the
// report.
Json index_of(const fs::path& directory) {
  try {
    const fs::path index = directory / "run.json";
    if (is_there(index)) {
      Json json = read_json(index);
      if (json.is_object()) return json;
    }
  } catch (const Error&) {
  }
  return Json::object();
}

// Returns a setting of a run whose run.json keeps none. It is read from the run's copy of the configuration,
// in which overrides precede the file's own values. Returns "" if neither has it.
std::string setting_of_copy(const fs::path& directory, const std::string& key) {
  constexpr std::string_view kInPlace = "# In place of its own: ";
  try {
    if (!is_there(directory / "config.toml")) return "";
    const std::string text = read_file(directory / "config.toml");
    if (const size_t at = text.find(kInPlace); at != std::string::npos) {
      const size_t begin = at + kInPlace.size();
      const std::string table = "own = { " + text.substr(begin, text.find('\n', begin) - begin) + " }\n";
      const std::string in_table = "own." + key;
      const std::string own = ConfigFile::parse(table, "overrides").text_or(in_table, "");
      if (!own.empty()) return own;
    }
    return ConfigFile::parse(text, "config.toml").text_or(key, "");
  } catch (const Error&) {  // a damaged copy costs a comparison, not the report
    return "";
  }
}

// Returns where the stage's tokenizer may be: in its model, its checkpoints (newest first), or the model it
// began from.
std::vector<fs::path> models_of(const fs::path& directory, const std::string& base) {
  std::vector<fs::path> checkpoints, out{directory / "model"};
  std::error_code ec;
  for (fs::directory_iterator at(directory / "checkpoints", ec), end; !ec && at != end; at.increment(ec))
    checkpoints.push_back(at->path());
  std::ranges::sort(checkpoints, std::greater());
  out.insert(out.end(), checkpoints.begin(), checkpoints.end());
  if (!base.empty()) out.emplace_back(base);
  return out;
}

// Returns the key's value in the first of these files that has it, or "".
std::string first_text(const std::vector<fs::path>& indexes, std::string_view key) {
  for (const fs::path& index : indexes) {
    try {
      if (!is_there(index)) continue;
      if (const std::string value = text_in(read_json(index), key); !value.empty()) return value;
    } catch (const Error&) {  // a damaged run.json costs a fact, not the report
    }
  }
  return "";
}

struct Collector {
  fs::path run;
  Missing missing;
  Json facts = Json::array(), training = Json::array(), models = Json::array();
  Json repeat, files = Json::array();
  std::vector<Evaluation> evaluations;
  std::vector<Samples> samples;  // of each evaluation
  std::vector<Origin> origins;   // of each training stage
  std::vector<fs::path> model_paths;
  const Json* spent = nullptr;  // the current stage's tokens, if recipe.json counts them
  fs::file_time_type newest = fs::file_time_type::min();

  void fact(const char* name, const std::string& value) {
    if (!value.empty()) facts.push_back(Json::object().set("name", name).set("value", value));
  }
  void saw(const fs::path& file) {
    std::error_code ec;
    const fs::file_time_type time = fs::last_write_time(file, ec);
    if (!ec) newest = std::max(newest, time);
  }

  Json recipe();
  Json single();
  void stage(const std::string& name, const fs::path& directory, const std::string& kind, const Json* result);
  void curves(const std::string& name, const fs::path& directory, const std::string& kind);
  void rollouts(const fs::path& directory, const std::string& base, Json& json);
  void config_of(const std::string& name, const fs::path& directory);
  void model(const std::string& name, const fs::path& directory);
  Json arms() const;
  Json example() const;
  Json finish(Json data);
};

void Collector::curves(const std::string& name, const fs::path& directory, const std::string& kind) {
  const fs::path metrics = directory / "metrics.jsonl";
  saw(metrics);
  Json json = training_curves(metrics, missing);
  if (json.get_int("rows") == 0)
    missing.push_back(metrics.string() + " has no row yet: there is nothing to draw");
  Json tokens = Json::object();
  if (spent != nullptr && spent->is_object()) {
    for (const auto& [what, count] : spent->members()) set_number(tokens, what, *spent, what);
  } else {
    set_number(tokens, "trained", json, "tokens");
  }
  json.set("spent", std::move(tokens));
  json.set("name", name).set("kind", kind).set("finished", is_there(directory / "model" / "config.json"));
  const Json index = index_of(directory);
  const Json* settings = index.find("settings");
  const auto setting = [&](const char* key) {
    return settings != nullptr ? text_in(*settings, key) : setting_of_copy(directory, key);
  };
  const Origin origin{.stage = name,
                      .kind = kind,
                      .base = setting(kind == "distill" ? "student" : "model"),
                      .teacher = kind == "distill" ? setting("teacher") : ""};
  if (settings != nullptr) json.set("settings", quoted(*settings));
  if (!origin.base.empty()) json.set("base", model_label(origin.base));
  if (!origin.teacher.empty()) json.set("teacher", model_label(origin.teacher));
  if (is_there(directory / "samples.jsonl")) rollouts(directory, origin.base, json);
  origins.push_back(origin);
  training.push_back(std::move(json));
}

// Only reinforcement learning leaves rollouts. The samples.jsonl of an evaluation has no steps.
void Collector::rollouts(const fs::path& directory, const std::string& base, Json& json) {
  if (json.find("columns") == nullptr || !json.at("columns").contains("reward")) return;
  json.set("rollouts", training_rollouts(directory / "samples.jsonl", models_of(directory, base), missing));
}

// Adds the stage's own copy of its configuration, or else the file that run.json names.
void Collector::config_of(const std::string& name, const fs::path& directory) {
  try {
    const fs::path copy = directory / "config.toml";
    if (is_there(copy)) {
      files.push_back(Json::object().set("name", name + "/config.toml").set("text", read_file(copy)));
      return;
    }
    if (!is_there(directory / "run.json")) return;
    const std::string path = text_in(read_json(directory / "run.json"), "config");
    if (!path.ends_with(".toml") || !is_there(path)) {
      missing.push_back(
          fmt::format("{}: has no config.toml, and {} is not there either: its settings are not shown",
                      directory.string(), path.empty() ? "its configuration" : path));
      return;
    }
    (void)ConfigFile::read(path);
    files.push_back(Json::object()
                        .set("name", path)
                        .set("text", read_file(path))
                        .set("note", "as it stood when this report was made: the run kept no copy"));
  } catch (const Error& e) {
    missing.push_back(std::string(e.what()) + ": the settings of " + name + " are not shown");
  }
}

void Collector::model(const std::string& name, const fs::path& directory) {
  if (!is_there(directory / "config.json")) return;
  std::error_code ec;
  for (const fs::path& other : model_paths) {
    if (fs::equivalent(other, directory, ec)) return;
  }
  model_paths.push_back(directory);
  Json json = Json::object().set("name", name);
  try {
    const Json config = read_json(directory / "config.json");
    json.set("architecture", text_in(config, "model_type"));
    set_number(json, "layers", config, "num_hidden_layers");
    set_number(json, "width", config, "hidden_size");
    set_number(json, "experts", config, config.contains("num_experts") ? "num_experts" : "n_routed_experts");
    set_number(json, "vocabulary", config, "vocab_size");
    set_number(json, "context", config, "max_position_embeddings");
    const HfWeights weights(directory);
    int64_t parameters = 0;
    for (const std::string& tensor : weights.names()) parameters += weights.find(tensor)->count();
    json.set("parameters", parameters);
  } catch (const Error& e) {
    missing.push_back(std::string(e.what()) + ": some sizes of this model are not shown");
  }
  models.push_back(std::move(json));
}

void Collector::stage(const std::string& name, const fs::path& directory, const std::string& kind,
                      const Json* result) {
  const bool trains = is_there(directory / "metrics.jsonl");
  if (trains) curves(name, directory, kind);
  const fs::path figures = directory / "eval.json";
  std::vector<Evaluation> found;
  if (result != nullptr) {
    found = find_evaluations(name, directory, *result);
  } else if (is_there(figures)) {
    try {
      found = find_evaluations(name, directory, read_json(figures));
    } catch (const Error& e) {
      missing.push_back(std::string(e.what()) + ": this evaluation is not shown");
    }
  }
  saw(figures);
  if (!trains && found.empty()) {
    missing.push_back(fmt::format("stage {}{}: neither metrics.jsonl nor figures of an evaluation are there",
                                  name, kind.empty() ? "" : " (" + kind + ")"));
  }
  for (Evaluation& e : found) {
    const std::string model_name = text_in(e.figures, "model");
    if (!model_name.empty()) model(model_label(model_name), model_name);
    samples.push_back(read_samples(e.samples, missing));
    evaluations.push_back(std::move(e));
  }
  model(name, directory / "model");
  config_of(name, directory);
}

// Returns the table of evaluations. Each field is checked before it is copied.
Json Collector::arms() const {
  Json out = Json::array();
  for (size_t i = 0; i < evaluations.size(); ++i) {
    const Evaluation& e = evaluations[i];
    Json arm = Json::object().set("name", e.name).set("task", text_in(e.figures, "task"));
    const std::string model_name = text_in(e.figures, "model");
    arm.set("model", model_label(model_name)).set("outcomes", samples[i].outcomes);
    Json pass = Json::array();
    for (const auto& [key, value] : e.figures.members()) {
      constexpr std::string_view kPass = "pass_at_";
      if (key.starts_with(kPass) && value.is_number())
        pass.push_back(Json::object().set("k", key.substr(kPass.size())).set("value", value));
    }
    arm.set("pass_at", std::move(pass));
    for (const char* key : {"low", "high", "problems", "samples", "mean_length", "mean_thinking", "truncated",
                            "well_formed", "tokens"}) {
      set_number(arm, key, e.figures, key);
    }
    for (const Json& stage : training.items()) {
      if (model_name.ends_with("/" + stage.get_string("name") + "/model"))
        arm.set("spent", stage.at("spent"));
    }
    out.push_back(std::move(arm));
  }
  return out;
}

// Returns a problem with a right answer, from the last evaluation that has one.
Json Collector::example() const {
  for (size_t i = evaluations.size(); i-- > 0;) {
    for (const auto& [problem, answer] : samples[i].first) {
      if (!answer.correct) continue;
      Json json = Json::object().set("task", text_in(evaluations[i].figures, "task"));
      return json.set("question", answer.question).set("answer", answer.answer);
    }
  }
  return {};
}

Json Collector::recipe() {
  const fs::path index = run / "recipe.json";
  const Json json = read_json(index);
  saw(index);
  const std::string name = text_in(json, "recipe");
  fact("Recipe", name);
  std::string seed;
  if (const Json* s = json.find("seed"); s != nullptr && s->is_integer()) seed = std::to_string(s->integer());
  fact("Seed", seed);
  std::vector<std::string> known;
  if (const Json* stages = json.find("stages"); stages != nullptr && stages->is_object()) {
    for (const auto& [stage_name, entry] : stages->members()) {
      if (!is_plain_name(stage_name) || !entry.is_object()) {
        missing.push_back(fmt::format("{}: a stage \"{}\" is none that a recipe makes and is left out",
                                      index.string(), stage_name));
        continue;
      }
      known.push_back(stage_name);
      spent = entry.find("tokens");
      stage(stage_name, run / stage_name, text_in(entry, "kind"), entry.find("result"));
    }
  }
  spent = nullptr;
  std::vector<std::string> begun;  // stages that recipe.json does not list yet
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(run, ec)) {
    const std::string folder = entry.path().filename().string();
    const bool holds = is_there(entry.path() / "metrics.jsonl") || is_there(entry.path() / "eval.json");
    if (holds && is_plain_name(folder) && std::ranges::find(known, folder) == known.end())
      begun.push_back(folder);
  }
  std::ranges::sort(begun);
  for (const std::string& folder : begun) {
    missing.push_back("stage " + folder + " is begun and not finished");
    stage(folder, run / folder, first_text({run / folder / "run.json"}, "kind"), nullptr);
  }
  repeat = repeat_recipe(run, seed, missing);
  if (const Json* text = repeat.find("file")) {
    Json all = Json::array();  // the recipe comes before its stages' files
    all.push_back(Json::object().set("name", "recipe.toml").set("text", *text));
    for (const Json& file : files.items()) all.push_back(file);
    files = std::move(all);
  }
  return Json::object().set("name", name.empty() ? run.filename().string() : name);
}

Json Collector::single() {
  const std::string name = fs::absolute(run).lexically_normal().filename().string();
  const std::string kind = first_text({run / "run.json"}, "kind");
  stage(name, run, kind, nullptr);
  repeat = repeat_stage(run, kind, missing);
  return Json::object().set("name", name);
}

Json Collector::finish(Json data) {
  std::vector<fs::path> indexes = {run / "recipe.json", run / "run.json"};
  for (const Json& t : training.items()) indexes.push_back(run / t.get_string("name") / "run.json");
  fact("Numerics", first_text(indexes, "numerics"));
  fact("Settings, SHA-256", first_text(indexes, "config_sha256"));
  const auto written =
      std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::file_clock::to_sys(newest));
  data.set("written",
           fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(written))));
  data.set("facts", facts).set("training", training).set("evaluations", arms());
  data.set("comparisons", compare(origins, evaluations, samples)).set("example", example());
  for (const Origin& o : origins) {
    if (o.base.empty() && o.kind != "pretrain" && evaluations.size() > 1)
      missing.push_back("stage " + o.stage +
                        ": run.json does not name the model that it began from, so that its "
                        "evaluations are not compared");
  }
  Json how = Json::object().set("commands", repeat.at("commands")).set("changed", repeat.at("changed"));
  data.set("models", models).set("repeat", how.set("files", files));
  return data.set("missing", Json::array_of(missing));
}

}  // namespace

Json collect_report(const fs::path& run) {
  if (!is_there(run)) throw Error(run.string() + ": there is no such directory");
  std::error_code ec;
  if (!fs::is_directory(run, ec))
    throw Error(run.string() + ": is a file; it must be the directory of a run");
  Collector collector;
  collector.run = run.has_filename() ? run : run.parent_path();  // removes a trailing slash
  if (is_there(run / "recipe.json")) return collector.finish(collector.recipe());
  if (is_there(run / "metrics.jsonl") || is_there(run / "eval.json"))
    return collector.finish(collector.single());
  throw Error(
      fmt::format("{}: is no run: neither recipe.json nor metrics.jsonl nor eval.json is there: give the "
                  "directory that r1 "
                  "recipe, {} wrote",
                  run.string(), fmt::join(kTrainingKinds, ", ")));
}

}  // namespace r1
