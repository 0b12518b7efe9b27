#include "cli/job_identity.h"

#include <algorithm>
#include <vector>

#include "base/file.h"
#include "base/file_reader.h"
#include "base/hash.h"
#include "formats/gguf_file.h"
#include "model/gguf_config.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

void add_files(const fs::path& folder, std::vector<fs::path>& files) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const fs::path extension = entry.path().extension();
    if (entry.is_regular_file() && (extension == ".json" || extension == ".jinja"))
      files.push_back(entry.path());
  }
}

// Returns the SHA-256 of a GGUF file's bytes before its first tensor.
std::string header_sha256(const fs::path& path) {
  const GgufFile file(path);
  const FileReader reader(path);
  uint64_t end = reader.size();
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.file == 0) end = std::min(end, tensor.begin);
  }
  std::vector<std::byte> bytes(end);
  reader.read(0, bytes);
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

// Returns the SHA-256 of the names and contents of all .json and .jinja files.
std::string files_sha256(const fs::path& directory) {
  if (is_gguf(directory)) return header_sha256(directory);
  std::vector<fs::path> files;
  add_files(directory, files);
  add_files(directory / "additional_chat_templates", files);
  std::ranges::sort(files);
  Sha256 hash;
  for (const fs::path& file : files) {
    const std::string name = fs::relative(file, directory).string();
    const std::string text = read_file(file);
    const std::string head = name + '\0' + std::to_string(text.size()) + '\0';
    hash.update(std::as_bytes(std::span(head)));
    hash.update(std::as_bytes(std::span(text)));
  }
  return hash.hex();
}

}  // namespace

Json job_identity(const std::string& command, const fs::path& directory, const Model& model,
                  Numerics numerics) {
  Json json = Json::object();
  json.set("command", command);
  json.set("model weights", model.weights_sha256());
  json.set("model files", files_sha256(directory));
  json.set("--numerics", name_of(numerics));
  return json;
}

void add_flags(Json& identity, const SamplingFlags& flags) {
  const auto set = [&](const char* name, const auto& value) {
    if (value) identity.set(name, *value);
  };
  set("--temperature", flags.temperature);
  set("--top-p", flags.top_p);
  set("--top-k", flags.top_k);
  set("--min-p", flags.min_p);
  set("--repetition-penalty", flags.repetition_penalty);
  set("--presence-penalty", flags.presence_penalty);
  set("--frequency-penalty", flags.frequency_penalty);
  set("--max-tokens", flags.max_tokens);
  identity.set("--seed", std::to_string(flags.seed));
  if (flags.ignore_eos) identity.set("--ignore-eos", true);
}

std::string resume_command(const CommonOptions& common, bool resume) {
  return resume ? common.command_line : common.command_line + " --resume";
}

}  // namespace r1
