// engine/find_model.h: a model's directory, from what somebody wrote.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace r1 {

// The first of these that has a config.json: `name` as a path (a relative one counts from `folder`; "": the
// working directory); where `name` has no separator, the shipped model of that name. None: no value.
std::optional<std::filesystem::path> find_model(const std::string& name,
                                                const std::filesystem::path& folder = {});

// The names of the shipped models: those in the folder models/ beside the program's own folder, or else in
// the working directory.
std::vector<std::string> shipped_models();

}  // namespace r1
