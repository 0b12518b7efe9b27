#include "recipe/inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "engine/find_model.h"
#include "formats/hub_name.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

std::string content_of(const fs::path& file) {
  const MappedFile mapped(file);
  Sha256 hash;
  hash.update(mapped.bytes());
  return hash.hex();
}

}  // namespace

fs::path model_of(const ConfigFile& file, std::string_view key, const std::string& name) {
  if (const auto found = find_model(name, file.beside("", key))) return *found;
  if (const auto hub = read_hub_name(name))
    file.fail(key, fmt::format(
                       "is \"{}\": no model is there ({} has no config.json), nor in the cache; download it "
                       "with: r1 pull {}",
                       name, file.beside(name, key).string(), hub->text()));
  file.fail(key,
            fmt::format("is \"{}\": no model is there ({} has no config.json), nor is it a shipped one ({})",
                        name, file.beside(name, key).string(), fmt::join(shipped_models(), ", ")));
}

std::string content_of_model(const fs::path& directory) {
  if (fs::is_regular_file(directory)) return content_of(directory);  // a GGUF file
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string extension = entry.path().extension().string();
    if (entry.is_regular_file() &&
        (extension == ".json" || extension == ".safetensors" || extension == ".jinja"))
      files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::string text;
  for (const fs::path& file : files) text += file.filename().string() + " " + content_of(file) + "\n";
  return sha256_hex(text);
}

std::string content_of_files(const std::vector<std::string>& files) {
  std::string text;
  for (const std::string& file : files) text += content_of(file) + "\n";
  return sha256_hex(text);
}

}  // namespace r1
