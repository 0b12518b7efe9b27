#include "engine/find_model.h"

#include <algorithm>

#include "base/error.h"
#include "formats/hub_cache.h"
#include "model/gguf_config.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

bool is_model(const fs::path& directory) {
  std::error_code none;
  return is_gguf(directory) || fs::is_regular_file(directory / "config.json", none);
}

// Returns the hub's cache, or an empty path in an environment that names none.
fs::path cache_or_none() {
  try {
    return hub_cache_folder();
  } catch (const Error&) {
    return {};
  }
}

// Returns the folders that hold models: models/ above the program's folder (for build/r1), then models/ here.
std::vector<fs::path> model_folders() {
  std::error_code none;
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  std::vector<fs::path> folders;
  if (!none) folders.push_back(program.parent_path().parent_path() / "models");
  folders.emplace_back("models");
  return folders;
}

}  // namespace

std::optional<fs::path> find_model(const std::string& name, const fs::path& folder) {
  if (name.empty()) return std::nullopt;
  const fs::path direct = (folder / name).lexically_normal();
  if (is_model(direct)) return direct;
  if (const auto hub = read_hub_name(name)) {
    const fs::path cache = cache_or_none();
    return cache.empty() ? std::nullopt : find_in_hub_cache(*hub, cache);
  }
  if (name.find('/') != std::string::npos || name == "." || name == "..") return std::nullopt;
  for (const fs::path& shipped : model_folders()) {
    if (is_model(shipped / name)) return shipped / name;
  }
  return std::nullopt;
}

std::vector<std::string> shipped_models() {
  std::vector<std::string> names;
  for (const fs::path& folder : model_folders()) {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none)) {
      if (is_model(entry.path())) names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  return names;
}

}  // namespace r1
