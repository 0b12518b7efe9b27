// recipe/report.h: runs as one self-contained HTML page: it needs no network and no other file.
//
// RUN is the directory of a recipe (recipe.json) or of one stage (metrics.jsonl, eval.json); it may still be
// running. Missing data is left out, and the page says so. Several runs, of any kinds, are shown side by side
// and then one by one. The page is a function of the directories: made again, it has the same bytes.
//
// Any data of a run may be hostile, a model's answers above all. The page holds it once, as JSON with every
// "<" escaped, so that no string can end the element. The page's script only sets text, never HTML.
#pragma once

#include <filesystem>
#include <span>

#include "formats/json.h"

namespace r1 {

// Writes the page to `output` and returns its path. The default is RUN/report.html for a single run and
// report.html in the working directory for several; a file there that is not such a page is not touched.
// Throws Error, also for a directory that is not a run.
std::filesystem::path write_report(std::span<const std::filesystem::path> runs,
                                   const std::filesystem::path& output = {});
std::filesystem::path write_report(const std::filesystem::path& run,
                                   const std::filesystem::path& output = {});

// Writes RUN/recipe.toml, a copy of the recipe's file (for "how to repeat it"), and RUN/report.html. Called
// at the end of a recipe.
std::filesystem::path write_recipe_report(const std::filesystem::path& run,
                                          const std::filesystem::path& config);

// Returns the page for {"name", "runs": [results of collect_report (recipe/report_data.h)]}.
std::string report_page(const Json& data);

}  // namespace r1
