// recipe/report_repeat.cc: the commands that repeat a run in a folder beside it, and the files that they
// read.
//
// The commands must be run in the folder in which the run was started, because its paths are relative to it.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text_util.h"
#include "formats/config_file.h"
#include "recipe/report_data.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

// Returns the path in a copy's first line, or "" if there is none.
std::string copied_from(const std::string& text) {
  if (!text.starts_with(ConfigFile::kCopyOf)) return "";
  const size_t begin = ConfigFile::kCopyOf.size();
  return text.substr(begin, text.find('\n') - begin);
}

// Adds `original` to `changed` if it differs from the copy: a command reads the original.
void note_change(const std::string& original, const std::string& copy, Json& changed) {
  std::error_code ec;
  if (!fs::is_regular_file(original, ec)) return;
  try {
    if (!copy.ends_with(read_file(original))) changed.push_back(original);
  } catch (const Error&) {  // the file cannot be read, so nothing is known
  }
}

// Returns the options by which the command line changed the file, or "".
std::string options_of_copy(const std::string& text) {
  const size_t begin = text.find('\n');
  if (begin == std::string::npos ||
      text.compare(begin + 1, ConfigFile::kOptions.size(), ConfigFile::kOptions) != 0)
    return "";
  const size_t first = begin + 1 + ConfigFile::kOptions.size();
  return text.substr(first, text.find('\n', first) - first);
}

std::string beside(const fs::path& run) {
  return shell_word(run.string() + "-again");
}

Json with_commands(const std::string& command, const fs::path& run, Json changed) {
  Json commands = Json::array();
  commands.push_back("export PATH=\"$PWD/build:$PATH\"   # not needed if r1 is installed");
  commands.push_back(command + " --out " + beside(run));
  commands.push_back("r1 report " + beside(run));
  return Json::object().set("commands", std::move(commands)).set("changed", std::move(changed));
}

Json no_commands() {
  return Json::object().set("commands", Json::array()).set("changed", Json::array());
}

// Returns true if a stage was run that the recipe runs only with --all.
bool ran_optional_stages(const fs::path& run, const std::string& text, const fs::path& copy) {
  ConfigFile file = ConfigFile::parse(text, copy.string());
  const int64_t count = file.array_size("stage");
  for (int64_t i = 0; i < count; ++i) {
    const std::string name = file.text_or(fmt::format("stage[{}].name", i), "");
    if (file.boolean_or(fmt::format("stage[{}].optional", i), false) && !name.empty() && is_there(run / name))
      return true;
  }
  return false;
}

}  // namespace

Json repeat_recipe(const fs::path& run, const std::string& seed, Missing& missing) {
  const fs::path copy = run / "recipe.toml";
  if (!is_there(copy)) {
    missing.push_back(copy.string() +
                      " is missing (a recipe leaves it when it ends): the recipe's text is not shown");
    return no_commands();
  }
  const std::string text = read_file(copy);
  const std::string path = copied_from(text);
  Json json = no_commands();
  try {
    if (!path.empty()) {
      Json changed = Json::array();
      note_change(path, text, changed);
      json = with_commands(
          fmt::format("r1 recipe {}{}{}", shell_word(path), seed.empty() ? "" : " --seed " + seed,
                      ran_optional_stages(run, text, copy) ? " --all" : ""),
          run, std::move(changed));
    }
  } catch (const Error& e) {
    missing.push_back(std::string(e.what()) + ": how to repeat the run is not shown");
  }
  return json.set("file", text);
}

Json repeat_stage(const fs::path& run, const std::string& kind, Missing& missing) {
  // A stage of a recipe got its model and seed from the recipe, so the recipe is repeated.
  const fs::path parent = fs::absolute(run).lexically_normal().parent_path();
  if (is_there(parent / "recipe.json") && is_there(parent / "recipe.toml")) {
    try {
      const Json index = read_json(parent / "recipe.json");
      const Json* seed = index.find("seed");
      const std::string value =
          seed != nullptr && seed->is_integer() ? std::to_string(seed->integer()) : std::string();
      const fs::path near = run.has_parent_path() ? run.parent_path() : parent;
      return repeat_recipe(near, value, missing);
    } catch (const Error& e) {
      missing.push_back(std::string(e.what()) + ": how to repeat the recipe is not shown");
      return no_commands();
    }
  }
  if (!is_there(run / "config.toml")) return no_commands();
  const std::string text = read_file(run / "config.toml");
  const std::string path = copied_from(text);
  if (std::ranges::find(kTrainingKinds, kind) == kTrainingKinds.end()) {
    missing.push_back((run / "run.json").string() +
                      " does not say which command made this run: how to repeat it is not shown");
    return no_commands();
  }
  if (path.empty()) return no_commands();
  Json changed = Json::array();
  note_change(path, text, changed);
  const std::string options = options_of_copy(text);
  return with_commands(
      fmt::format("r1 {} {}{}{}", kind, shell_word(path), options.empty() ? "" : " ", options), run,
      std::move(changed));
}

}  // namespace r1
