#include "server/runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "base/error.h"
#include "formats/shown.h"
#include "server/api_error.h"
#include "server/run_files.h"
#include "server/run_views.h"
#include "server/url_text.h"

namespace r1 {
namespace {

constexpr std::string_view kList = "/runs", kMetrics = "/runs/metrics", kRollouts = "/runs/rollouts";

constexpr int kDeepest = 3;  // DIR/RECIPE/STAGE, and one folder in between
constexpr int64_t kMostEntries = 5'000, kMostFolders = 2'000, kMostRuns = 500;
constexpr int64_t kIndexBytes = int64_t{1} << 20;     // run.json, eval.json and recipe.json have a few kB
constexpr int64_t kLastRowBytes = int64_t{64} << 10;  // a row of metrics.jsonl has a kB or so
constexpr int64_t kMetricsBytes = int64_t{8} << 20;
constexpr int64_t kRolloutBytes = int64_t{16} << 20;
constexpr int64_t kMostRollouts = 200;

struct RunPlace {
  std::string id;    // "0/r1-nano/zero"
  std::string name;  // "r1-nano/zero"
  RunFolder folder;
};

std::string end_of(const RunFile& file, int64_t bytes, int64_t& begin) {
  begin = std::max<int64_t>(0, file.size() - bytes);
  return file.read(begin, file.size());
}

// Returns a small file of one JSON object, or an empty object if it is missing or damaged.
Json index_file(const RunFolder& folder, const char* name) {
  const std::optional<RunFile> file = folder.file(name);
  if (file && file->size() <= kIndexBytes) {
    try {
      Json json = parse_json(file->read(0, file->size()), name);
      if (json.is_object()) return json;
    } catch (const Error&) {  // the file is being written, or is not ours
    }
  }
  return Json::object();
}

std::string string_in(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value != nullptr && value->is_string() ? shown(value->string()) : "";
}

std::optional<int64_t> integer_in(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || !value->is_integer()) return std::nullopt;
  return value->integer();
}

// Copies the strings and numbers among an object's fields, which is what a page can show.
Json plain_fields(const Json& object) {
  constexpr size_t kMostFields = 200;
  Json out = Json::object();
  for (const auto& [key, value] : object.members()) {
    if (out.size() == kMostFields) break;
    if (value.is_string()) out.set(shown(key), shown(value.string()));
    if (value.is_number() || value.is_bool()) out.set(shown(key), value);
  }
  return out;
}

// Returns what is known of a run without its curves. `last` has the numbers of its last row.
Json run_summary(const RunPlace& place, const Json& index, const Json& last) {
  Json out = Json::object().set("id", place.id).set("name", place.name);
  const bool is_recipe = place.folder.file("recipe.json").has_value();
  const bool has_eval = place.folder.file("eval.json").has_value();
  const bool has_metrics = place.folder.file("metrics.jsonl").has_value();
  std::string kind = string_in(index, "kind");
  if (kind.empty()) kind = is_recipe ? "recipe" : has_eval && !has_metrics ? "eval" : "training";
  out.set("kind", kind).set("numerics", string_in(index, "numerics"));
  int64_t updated = 0;
  for (const char* name : {"metrics.jsonl", "eval.json", "recipe.json", "run.json"}) {
    if (const std::optional<RunFile> file = place.folder.file(name))
      updated = std::max(updated, file->modified());
  }
  const Json* settings = index.find("settings");
  std::optional<int64_t> steps;
  if (settings != nullptr && settings->is_object()) steps = integer_in(*settings, "optimizer.steps");
  const std::optional<int64_t> finished = integer_in(index, "finished"), step = integer_in(last, "step");
  if (step) out.set("step", *step);
  if (steps) out.set("steps", *steps);
  const bool is_finished = (finished && (!steps || *finished >= *steps)) || (has_eval && !has_metrics);
  return out.set("finished", is_finished).set("updated", updated).set("last", last);
}

bool is_run(const RunFolder& folder) {
  return std::ranges::any_of(std::to_array({"metrics.jsonl", "run.json", "eval.json", "recipe.json"}),
                             [&](const char* name) { return folder.file(name).has_value(); });
}

class RunLister {
 public:
  void visit(const RunPlace& place, int depth) {
    if (++folders_ > kMostFolders || std::ssize(runs_) >= kMostRuns) {
      cut_ = true;
      return;
    }
    const bool is_recipe = place.folder.file("recipe.json").has_value();
    if (is_run(place.folder)) {
      Json last = Json::object();
      if (const std::optional<RunFile> metrics = place.folder.file("metrics.jsonl")) {
        FilePart part;
        const std::string bytes = end_of(*metrics, kLastRowBytes, part.begin);
        part.text = bytes;
        last = last_row_view(part);
      }
      runs_.push_back(run_summary(place, index_file(place.folder, "run.json"), last));
      if (!is_recipe) return;  // its folders are checkpoints and models
    }
    if (depth == kDeepest) return;
    for (const std::string& name : place.folder.folders(kMostEntries, cut_)) {
      const std::optional<RunFolder> folder = place.folder.folder(name);
      if (!folder) continue;
      visit({.id = place.id + "/" + name,
             .name = depth == 0 ? name : place.name + "/" + name,
             .folder = *folder},
            depth + 1);
    }
  }
  std::vector<Json> runs() { return std::move(runs_); }
  bool cut() const { return cut_; }

 private:
  std::vector<Json> runs_;
  int64_t folders_ = 0;
  bool cut_ = false;
};

std::string display_name(const std::filesystem::path& directory) {
  return directory.has_filename() ? directory.filename().string() : directory.string();
}

Json list_runs(const std::vector<std::filesystem::path>& directories) {
  RunLister lister;
  Json names = Json::array(), missing = Json::array();
  for (size_t i = 0; i < directories.size(); ++i) {
    names.push_back(display_name(directories[i]));
    try {
      lister.visit({.id = std::to_string(i),
                    .name = display_name(directories[i]),
                    .folder = RunFolder(directories[i])},
                   0);
    } catch (const Error&) {  // it was there at the start
      missing.push_back(fmt::format("the directory {} is gone", display_name(directories[i])));
    }
  }
  if (lister.cut()) missing.push_back("there are too many folders: some runs are not listed");
  std::vector<Json> runs = lister.runs();
  std::ranges::stable_sort(
      runs, [](const Json& a, const Json& b) { return a.get_int("updated") > b.get_int("updated"); });
  Json out = Json::object();
  out.set("directories", std::move(names)).set("runs", Json::array_of(runs));
  return out.set("missing", std::move(missing));
}

// Finds a run by its name. Throws ApiError with status 404.
RunPlace find_run(const std::vector<std::filesystem::path>& directories, const std::string& id) {
  const auto none = [&] {
    return ApiError(fmt::format("there is no run {}", shown(id)), {.status = 404, .param = "run"});
  };
  size_t index = 0;
  const char* const end = id.data() + id.size();
  const auto [rest, error] = std::from_chars(id.data(), end, index);
  if (error != std::errc() || index >= directories.size() || (rest != end && *rest != '/')) throw none();
  try {
    RunPlace place{
        .id = id, .name = display_name(directories[index]), .folder = RunFolder(directories[index])};
    std::string names;
    int depth = 0;
    for (const char* at = rest; at != end;) {
      const char* const stop = std::find(at + 1, end, '/');
      const std::string name(at + 1, stop);
      const std::optional<RunFolder> folder = place.folder.folder(name);
      if (!folder || ++depth > kDeepest) throw none();
      place.folder = *folder;
      names += (names.empty() ? "" : "/") + name;
      at = stop;
    }
    if (!names.empty()) place.name = names;
    if (!is_run(place.folder)) throw none();
    return place;
  } catch (const ApiError&) {
    throw;
  } catch (const Error&) {  // the directory is gone; its path is nobody's business outside
    throw none();
  }
}

Json run_metrics(const RunPlace& place) {
  const Json index = index_file(place.folder, "run.json");
  Json view = Json::object();
  if (const std::optional<RunFile> metrics = place.folder.file("metrics.jsonl")) {
    FilePart part;
    const std::string bytes = end_of(*metrics, kMetricsBytes, part.begin);
    part.text = bytes;
    view = metrics_view(part);
  }
  const Json* last = view.find("last");
  Json out = run_summary(place, index, last == nullptr ? Json::object() : *last);
  for (const auto& [key, value] : view.members()) out.set(key, value);
  const Json* settings = index.find("settings");
  out.set("settings",
          settings != nullptr && settings->is_object() ? plain_fields(*settings) : Json::object());
  out.set("evaluation", plain_fields(index_file(place.folder, "eval.json")));
  Json files = Json::object();
  for (const char* name : {"samples", "evals"}) {
    if (const std::optional<RunFile> file = place.folder.file(fmt::format("{}.jsonl", name)))
      files.set(name, file->size());
  }
  return out.set("files", std::move(files));
}

using Parameters = std::map<std::string, std::string>;

// Removes a parameter and returns its value.
std::optional<std::string> take_parameter(Parameters& parameters, const std::string& name) {
  auto node = parameters.extract(name);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

std::optional<int64_t> take_integer(Parameters& parameters, const std::string& name, int64_t least,
                                    int64_t most) {
  const std::optional<std::string> text = take_parameter(parameters, name);
  if (!text) return std::nullopt;
  int64_t value = 0;
  const char* const end = text->data() + text->size();
  const auto [rest, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || rest != end || value < least || value > most)
    throw ApiError(
        fmt::format("{} is {}; it must be an integer between {} and {}", name, shown(*text), least, most),
        {.param = name});
  return value;
}

std::string take_word(Parameters& parameters, const std::string& name,
                      const std::vector<std::string>& words) {
  const std::string word = take_parameter(parameters, name).value_or(words.front());
  if (std::ranges::find(words, word) == words.end())
    throw ApiError(fmt::format("{} is {}; it must be one of {}", name, shown(word), fmt::join(words, ", ")),
                   {.param = name});
  return word;
}

void check_all_taken(const Parameters& parameters) {
  if (parameters.empty()) return;
  const std::string& name = parameters.begin()->first;
  throw ApiError(fmt::format("there is no parameter {}", shown(name)), {.param = name});
}

Json run_rollouts(const RunPlace& place, Parameters parameters) {
  const std::string name = take_word(parameters, "file", {"samples", "evals"});
  const std::string verdict = take_word(parameters, "verdict", {"all", "right", "wrong"});
  const int64_t limit = take_integer(parameters, "limit", 1, kMostRollouts).value_or(RolloutQuery().limit);
  const std::optional<int64_t> before = take_integer(parameters, "before", 0, INT64_MAX);
  check_all_taken(parameters);
  const std::optional<RunFile> file = place.folder.file(name + ".jsonl");
  if (!file)
    throw ApiError(fmt::format("the run {} has no {}.jsonl", shown(place.id), name),
                   {.status = 404, .param = "file"});
  const int64_t end = std::min(before.value_or(file->size()), file->size());
  const int64_t begin = std::max<int64_t>(0, end - kRolloutBytes);
  const std::string bytes = file->read(begin, end);
  return rollouts_view({.text = bytes, .begin = begin},
                       {.limit = limit,
                        .verdict = verdict == "all"     ? VerdictFilter::all
                                   : verdict == "right" ? VerdictFilter::right
                                                        : VerdictFilter::wrong});
}

}  // namespace

Runs::Runs(const std::vector<std::filesystem::path>& directories) {
  for (const std::filesystem::path& path : directories) {
    const RunFolder folder(path);  // throws if it is not a directory
    std::error_code ec;
    const std::filesystem::path whole = std::filesystem::canonical(path, ec);
    if (ec) throw Error(fmt::format("--runs {}: {}", path.string(), ec.message()));
    if (std::ranges::find(directories_, whole) != directories_.end())
      throw Error(fmt::format("--runs {} is named twice", path.string()));
    directories_.push_back(whole);
  }
}

bool Runs::is_target(std::string_view target) {
  return target == kList || target == kMetrics || target == kRollouts;
}

Json Runs::answer(const std::string& target, const std::string& query) const {
  Parameters parameters = query_parameters(query);
  if (target == kList) {
    check_all_taken(parameters);
    return list_runs(directories_);
  }
  const std::optional<std::string> id = take_parameter(parameters, "run");
  if (!id) throw ApiError("the parameter run is missing", {.param = "run"});
  const RunPlace place = find_run(directories_, *id);
  if (target == kRollouts) return run_rollouts(place, std::move(parameters));
  check_all_taken(parameters);
  return run_metrics(place);
}

}  // namespace r1
