// recipe/report.h: runs as one HTML page that needs nothing else: no network, no other file.
//
// RUN is what `r1 recipe` left (recipe.json), or one stage's directory (metrics.jsonl, eval.json); it may
// still be running. What is missing is left out, and the page says so. Several runs, of any kinds, are shown
// side by side and then one by one. The page is a function of the directories: made again, it has the same
// bytes.
//
// Everything in a run may be hostile (a model's answers, at the least). It stands in the page once, as JSON
// whose "<" are escaped, so that no string can end the element; the page's script only ever sets text, never
// HTML.
#pragma once

#include <filesystem>
#include <span>

#include "formats/json.h"

namespace r1 {

// Writes `output` and returns its path. An empty one is RUN/report.html of a single run, and report.html in
// the working directory of several; a file there that is not such a page is not touched. Throws Error; a
// directory that is not a run is one.
std::filesystem::path write_report(std::span<const std::filesystem::path> runs,
                                   const std::filesystem::path& output = {});
std::filesystem::path write_report(const std::filesystem::path& run,
                                   const std::filesystem::path& output = {});

// What ends a recipe: RUN/recipe.toml, a copy of its file (for "how to repeat it"), and RUN/report.html.
std::filesystem::path write_recipe_report(const std::filesystem::path& run,
                                          const std::filesystem::path& config);

// The page that shows {"name", "runs": [what collect_report (recipe/report_data.h) gathered]}.
std::string report_page(const Json& data);

}  // namespace r1
