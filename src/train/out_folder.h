// train/out_folder.h: the check of folders that a run may write to.
//
// r1 replaces and deletes parts of a run's folder (model/, old checkpoints), so it accepts only a new folder,
// an empty one, or one that holds a run of r1 and nothing else.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace r1 {

// Returns the run's folder without a separator at its end. Throws Error for "", "/", the home folder, a file,
// a dangling link, a folder that cannot be read, and a folder with anything in it that does not belong to a
// run of one stage. Changes nothing.
std::filesystem::path check_run_folder(const std::filesystem::path& out);

// The same for a recipe's folder: recipe.json, recipe.toml, the report, and a folder for each of `stages`.
std::filesystem::path check_recipe_folder(const std::filesystem::path& out,
                                          const std::vector<std::string>& stages);

// Reports whether `name` can name a run or a stage, and so a folder: it is not empty, "." or "..", and has no
// separators or control characters.
bool is_folder_name(std::string_view name);

// Throws Error if a model's folder that is about to be replaced holds anything that r1 does not write there.
void check_model_folder(const std::filesystem::path& directory);

}  // namespace r1
