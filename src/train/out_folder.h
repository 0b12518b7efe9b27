// train/out_folder.h: which folders a run may write to.
//
// r1 replaces and deletes what it finds in a run's folder (model/, old checkpoints), so it takes only folders
// in which nothing can be anybody else's: a new one, an empty one, or one that holds a run of r1 and nothing
// besides.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace r1 {

// A run's folder as it is used: without a separator at its end. Throws Error: "", "/", the home folder, a
// file, a link to nothing, a folder that cannot be read, a folder with anything in it that is not of a run of
// one stage. Changes nothing.
std::filesystem::path check_run_folder(const std::filesystem::path& out);

// The same for a recipe's folder: recipe.json, recipe.toml, the report, and a folder for each of `stages`.
std::filesystem::path check_recipe_folder(const std::filesystem::path& out,
                                          const std::vector<std::string>& stages);

// Whether `name` can be the name of a run or a stage, which becomes a folder's: not empty, "." or "..", no
// separators, no control characters.
bool is_folder_name(std::string_view name);

// Throws Error if a model's folder, which is about to be replaced, holds anything that r1 does not write
// there.
void check_model_folder(const std::filesystem::path& directory);

}  // namespace r1
