// recipe/inputs.h: the paths and content hashes of the models and files that a configuration names.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "formats/config_file.h"

namespace r1 {

// Returns the folder of the model `name`: a path (relative to the file's folder) or the name of a shipped
// model. Throws Error at `key` if there is none.
std::filesystem::path model_of(const ConfigFile& file, std::string_view key, const std::string& name);

// Returns the SHA-256 of a model's configuration, tokenizer and weights on disk. The folder's path does not
// matter.
std::string content_of_model(const std::filesystem::path& directory);
// Returns the SHA-256 of the files' content, in order. Their names do not matter. Throws Error for one that
// cannot be read.
std::string content_of_files(const std::vector<std::string>& files);

}  // namespace r1
