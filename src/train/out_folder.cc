#include "train/out_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kAdvice = "name a new or an empty folder as out";

bool any_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

// Removes the suffix of a spare copy, which write_file_atomically or write_directory_atomically leaves if the
// process ends.
std::string_view without_spare(std::string_view name) {
  for (const std::string_view suffix : {".tmp", ".old"}) {
    if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  }
  return name;
}

bool is_step_folder(std::string_view name) {
  return name.starts_with("step-") && name.size() > 5 &&
         name.find_first_not_of("0123456789", 5) == std::string_view::npos;
}

bool is_model_file(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".json") || name == "chat_template.jinja" ||
         name == "merges.txt";
}

bool is_run_file(std::string_view name) {
  return any_of(name, {"run.json", "config.toml", "metrics.jsonl", "samples.jsonl", "data.jsonl",
                       "evals.jsonl", "teacher.json", "eval.json", "report.html"}) ||
         name.starts_with("events.out.tfevents.");
}

std::vector<fs::directory_entry> entries_of(const fs::path& directory) {
  std::vector<fs::directory_entry> entries;
  std::error_code ec;
  for (fs::directory_iterator at(directory, ec), end; !ec && at != end; at.increment(ec))
    entries.push_back(*at);
  if (ec) throw Error(fmt::format("{}: cannot be read: {}", directory.string(), ec.message()));
  std::ranges::sort(entries, {}, &fs::directory_entry::path);
  return entries;
}

[[noreturn]] void foreign(const fs::path& out, const fs::path& entry) {
  throw Error(fmt::format("{}: holds {}, which is no part of a run of r1: move it away, or {}", out.string(),
                          entry.lexically_relative(out).string(), kAdvice));
}

bool is_folder(const fs::directory_entry& entry) {
  std::error_code ec;
  return !entry.is_symlink(ec) && entry.is_directory(ec);
}

bool is_file(const fs::directory_entry& entry) {
  std::error_code ec;
  return !entry.is_symlink(ec) && entry.is_regular_file(ec);
}

// Throws Error if the folder holds anything but the files of a model or a checkpoint.
void check_model_files(const fs::path& out, const fs::path& directory) {
  for (const fs::directory_entry& entry : entries_of(directory)) {
    const std::string name = entry.path().filename().string();
    if (is_folder(entry) && (name == "reference" || name == "critic")) {
      check_model_files(out, entry.path());
    } else if (!is_file(entry) || !is_model_file(without_spare(name))) {
      foreign(out, entry.path());
    }
  }
}

void check_checkpoints(const fs::path& out, const fs::path& directory) {
  for (const fs::directory_entry& entry : entries_of(directory)) {
    const std::string name = entry.path().filename().string();
    if (!is_folder(entry) || !is_step_folder(without_spare(name))) foreign(out, entry.path());
    check_model_files(out, entry.path());
  }
}

// Checks the entries of one stage's folder. The contents of model/ are checked when it is about to be
// replaced.
void check_stage_entries(const fs::path& out, const fs::path& directory) {
  for (const fs::directory_entry& entry : entries_of(directory)) {
    const std::string name(without_spare(entry.path().filename().string()));
    if (is_folder(entry) && name == "checkpoints") {
      check_checkpoints(out, entry.path());
    } else if (is_folder(entry) ? name != "model" && name != "best" : !is_file(entry) || !is_run_file(name)) {
      foreign(out, entry.path());
    }
  }
}

// Returns true if the file is an index that r1 wrote: an object with these members.
bool is_index(const fs::path& file, std::initializer_list<const char*> members) {
  std::error_code ec;
  if (!fs::is_regular_file(file, ec)) return false;
  try {
    const Json json = read_json(file);
    return json.is_object() && std::ranges::all_of(members, [&](const char* m) { return json.contains(m); });
  } catch (const Error&) {
    return false;
  }
}

// Checks, before anything is loaded, that the nearest existing parent is a folder in which an entry can be
// made.
void check_can_be_made(const fs::path& out) {
  std::error_code ec;
  fs::path above = fs::absolute(out, ec);
  while (above.has_relative_path() && !fs::exists(above, ec)) above = above.parent_path();
  if (!fs::is_directory(above, ec)) {
    throw Error(
        fmt::format("{}: the run directory cannot be made: {} is a file", out.string(), above.string()));
  }
  if (::access(above.c_str(), W_OK | X_OK) != 0) {
    throw Error(fmt::format("{}: the run directory cannot be made: {}: {}", out.string(), above.string(),
                            std::strerror(errno)));
  }
}

// Checks the path alone. Returns false if nothing exists there yet.
bool check_place(const fs::path& out) {
  if (out.empty()) throw Error("out is \"\": it must name a folder");
  std::error_code ec;
  const fs::path place = fs::weakly_canonical(out, ec);
  if (ec) throw Error(fmt::format("{}: cannot be used as out: {}", out.string(), ec.message()));
  if (place == place.root_path())
    throw Error(fmt::format("{}: is the root folder: {}", out.string(), kAdvice));
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0' && place == fs::weakly_canonical(home, ec))
    throw Error(fmt::format("{}: is the home folder: {}", out.string(), kAdvice));
  const fs::file_status own = fs::symlink_status(out, ec), status = fs::status(out, ec);
  if (own.type() == fs::file_type::not_found) {
    check_can_be_made(out);
    return false;
  }
  if (status.type() == fs::file_type::not_found)
    throw Error(fmt::format("{}: is a link to {}, which is not there", out.string(),
                            fs::read_symlink(out, ec).string()));
  if (!fs::is_directory(status)) throw Error(fmt::format("{}: is a file: {}", out.string(), kAdvice));
  return true;
}

fs::path cleaned(const fs::path& out) {
  return out.has_filename() || out == out.root_path() ? out : out.parent_path();
}

// Returns true if a run ended while it wrote its very first file: the folder then holds only that file's
// spare copy.
bool is_torn_start(const std::vector<fs::directory_entry>& entries, std::string_view index) {
  return entries.size() == 1 && entries[0].path().filename().string() == std::string(index) + ".tmp";
}

}  // namespace

bool is_folder_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of("/\\") == std::string_view::npos &&
         std::ranges::none_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

fs::path check_run_folder(const fs::path& given) {
  fs::path out = cleaned(given);
  if (!check_place(out)) return out;
  const std::vector<fs::directory_entry> entries = entries_of(out);
  if (entries.empty() || is_torn_start(entries, "run.json")) return out;
  if (is_index(out / "recipe.json", {"recipe", "stages"}))
    throw Error(fmt::format("{}: holds a recipe's run: {}", out.string(), kAdvice));
  if (!is_index(out / "run.json", {"kind", "config_sha256", "numerics"}))
    foreign(out, entries.front().path());
  check_stage_entries(out, out);
  return out;
}

fs::path check_recipe_folder(const fs::path& given, const std::vector<std::string>& stages) {
  fs::path out = cleaned(given);
  if (!check_place(out)) return out;
  const std::vector<fs::directory_entry> entries = entries_of(out);
  if (entries.empty() || is_torn_start(entries, "recipe.json")) return out;
  if (is_index(out / "run.json", {"kind", "config_sha256"}))
    throw Error(fmt::format("{}: holds the run of one stage: {}", out.string(), kAdvice));
  if (!is_index(out / "recipe.json", {"recipe", "config_sha256", "stages"}))
    foreign(out, entries.front().path());
  const Json known = read_json(out / "recipe.json").at("stages");
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (is_folder(entry)) {
      if (std::ranges::find(stages, name) == stages.end() && !known.contains(name))
        foreign(out, entry.path());
      check_stage_entries(out, entry.path());
    } else if (!is_file(entry) ||
               !any_of(without_spare(name), {"recipe.json", "recipe.toml", "report.html"})) {
      foreign(out, entry.path());
    }
  }
  return out;
}

void check_model_folder(const fs::path& directory) {
  std::error_code ec;
  if (fs::exists(directory, ec)) check_model_files(directory.parent_path(), directory);
}

}  // namespace r1
