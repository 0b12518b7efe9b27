// recipe/report.h: a run as one HTML page that needs nothing else: no network, no other file.
//
// RUN is what `r1 recipe` left (recipe.json), or one stage's directory (metrics.jsonl, eval.json); it may
// still be running. What is missing is left out, and the page says so. The page is a function of the
// directory: made again, it has the same bytes.
//
// Everything of a run may be hostile (a model's answers, at the least). It stands in the page once, as JSON
// whose
// "<" are escaped, so that no string can end the element; the page's script only ever sets text, never HTML.
#pragma once

#include <filesystem>
#include <string>

#include "formats/json.h"

namespace r1 {

// Writes `output` (empty: RUN/report.html) and returns its path. Throws Error; RUN that is no run is one.
std::filesystem::path write_report(const std::filesystem::path& run,
                                   const std::filesystem::path& output = {});

// What ends a recipe: RUN/recipe.toml, a copy of its file (for "how to repeat it"), and RUN/report.html.
std::filesystem::path write_recipe_report(const std::filesystem::path& run,
                                          const std::filesystem::path& config);

// The page that shows what collect_report (recipe/report_data.h) gathered.
std::string report_page(const Json& data);

}  // namespace r1
