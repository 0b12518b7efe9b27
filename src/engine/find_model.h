// engine/find_model.h: finds a model's directory from the name that a user wrote.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace r1 {

// Returns the first of these that is a GGUF file or has a config.json: `name` as a path (a relative one
// counts from `folder`; "": the working directory); the model of the hub's cache, if `name` has the form
// org/name[:quant][@revision] (formats/hub_cache.h); the shipped model of that name, if `name` has no
// separator. No value if there is none. Throws Error if several GGUF models of the cache fit.
std::optional<std::filesystem::path> find_model(const std::string& name,
                                                const std::filesystem::path& folder = {});

// Names of the shipped models. They are in models/ beside the program's own folder and in models/ of the
// working directory.
std::vector<std::string> shipped_models();

}  // namespace r1
