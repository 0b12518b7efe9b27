// recipe/inputs.h: the models and files that a configuration names: where they are, and what is in them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "formats/config_file.h"

namespace r1 {

// The folder of the model `name`: a path (a relative one counts from the file's folder), or a shipped model's
// name. Fails at `key` if there is none.
std::filesystem::path model_of(const ConfigFile& file, std::string_view key, const std::string& name);

// SHA-256 of a model's configuration, tokenizer and weights as they are on disk, wherever the folder lies.
std::string content_of_model(const std::filesystem::path& directory);
// The same of files, in order, whatever their names. Throws Error for one that cannot be read.
std::string content_of_files(const std::vector<std::string>& files);

}  // namespace r1
