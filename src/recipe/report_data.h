// recipe/report_data.h: what a run left behind, gathered for its report.
//
// The stages of a recipe are known by what they hold, not by their kind: metrics.jsonl makes a training
// stage, figures with a pass_at_1 (in recipe.json or eval.json) make an evaluation; one may be both. So a
// kind of stage that is added later is shown without a change here.
//
//   name, written ("2026-11-22 18:10 UTC": the newest file), facts [{name, value}]
//   training [training_curves() with name, kind, finished, spent {trained, sampled, ...: tokens}],
//   evaluations [find_evaluations()], changes [find_changes()] models [{name, architecture, parameters,
//   ...}], repeat {commands, files [{name, text, note}]} missing [sentences]
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

// Throws Error where `run` is no run, or its recipe.json cannot be read. Everything else that cannot be read
// becomes a sentence of "missing".
Json collect_report(const std::filesystem::path& run);

// Sentences about what is left out and why.
using Missing = std::vector<std::string>;

// metrics.jsonl as columns, of every numeric field in order of appearance:
//   rows, every (one row in so many is kept), columns {name: [number or null]}, zero [names of columns that
//   are 0 in every row], ends {name: [first, last]}, phases [{name, median, share}] of the time of a step,
//   sampler_trainer (largest sampler_trainer_max_abs; only where it was measured), tokens and wall_s (of the
//   last row)
Json training_curves(const std::filesystem::path& metrics, Missing& missing);

struct Evaluation {
  std::string name;               // of the stage
  std::filesystem::path samples;  // its samples.jsonl; may not be there
  Json figures;                   // as recipe.json or eval.json has them
};
// A field of a file that anybody may have written: "" where it is no string.
std::string text_in(const Json& object, std::string_view key);

// Every object within `result` that has a pass_at_1; one that lies deeper is named STAGE/KEY.
std::vector<Evaluation> find_evaluations(const std::string& stage, const std::filesystem::path& directory,
                                         const Json& result);

// For each task, its first evaluation (before) against every later one (after): of the first samples of each
// problem, how many turned right and wrong, and a few of them in full.
Json find_changes(const std::vector<Evaluation>& evaluations, Missing& missing);

}  // namespace r1
