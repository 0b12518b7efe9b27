// recipe/report_data.h: what a run left behind, gathered for its report.
//
// The stages of a recipe are known by what they hold, not by their kind: metrics.jsonl makes a training
// stage, figures with a pass_at_1 (in recipe.json or eval.json) make an evaluation; one may be both. So a
// kind of stage that is added later is shown without a change here.
//
//   name, written ("2026-11-22 18:10 UTC": the newest file), facts [{name, value}]
//   training [training_curves() with name, kind, finished, base, teacher, settings {some of run.json's},
//             spent {trained, sampled, ...: tokens}, rollouts: training_rollouts()]
//   evaluations [{name, task, model, figures, outcomes: Samples::outcomes}]
//   comparisons [compare()], example {task, question, answer}: a problem and a right answer
//   models [{name, architecture, parameters, ...}], repeat {commands, changed [files], files [{name, text, note}]}
//   missing [sentences]
#pragma once

#include <filesystem>
#include <map>
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

// The rollouts of a reinforcement learning's samples.jsonl, at most kMostSteps of its steps:
//   [{step, samples, right, cut_off, reward, question, group [{correct, cut_off, reward, advantage, tokens}],
//     best, worst {thought, answer, correct, why, reward, advantage, tokens}}]
// group: the answers to the step's first problem whose rewards differ (to its first problem if there is none);
// best and worst: its highest and its lowest advantage. Texts come from the first of `models` that has a
// tokenizer.
inline constexpr size_t kMostSteps = 7;
Json training_rollouts(const std::filesystem::path& samples, const std::vector<std::filesystem::path>& models,
                       Missing& missing);

struct Answer {
  std::string question, thought, answer, why;
  bool correct = false;
  int64_t tokens = 0;
};

// An evaluation's samples.jsonl.
struct Samples {
  std::map<int64_t, Answer> first;  // by problem, its first sample
  // {samples, right, cut_off, limit (tokens of the longest answer that was cut off), wrong [{why, count}] of
  // the others, most frequent first}; null: there are no samples
  Json outcomes;
};
Samples read_samples(const std::filesystem::path& path, Missing& missing);
// At most kMostText bytes, cut between characters.
std::string shortened(const std::string& text);

struct Evaluation {
  std::string name;               // of the stage
  std::filesystem::path samples;  // its samples.jsonl; may not be there
  Json figures;                   // as recipe.json or eval.json has them
};

// Every object within `result` that has a pass_at_1; one that lies deeper is named STAGE/KEY.
std::vector<Evaluation> find_evaluations(const std::string& stage, const std::filesystem::path& directory,
                                         const Json& result);

// Where a stage's model comes from; "" where it is not known.
struct Origin {
  std::string stage, kind;
  std::string base, teacher;  // paths of models
};

// Evaluations of one task, with the same number of problems and samples, that say something together:
//   what "training"  a stage's model before and after
//   what "teacher"   a stage's teacher and its student after
//   what "method"    two stages' models that were made from the same base
// [{what, stage, kind, task, before, after, turned_right, turned_wrong, stayed_right, stayed_wrong, examples}]:
// of the first samples of each problem, how many turned right and wrong, and a few of them in full (none for
// "method"). samples: of each evaluation.
Json compare(const std::vector<Origin>& origins, const std::vector<Evaluation>& evaluations,
             const std::vector<Samples>& samples);

// A model's name for people: the stage that made it, or its folder.
std::string model_label(const std::string& path);

// How a run is repeated; see repeat above. run: its directory.
Json repeat_recipe(const std::filesystem::path& run, const std::string& seed, Missing& missing);
Json repeat_stage(const std::filesystem::path& run, const std::string& kind, Missing& missing);

// A field of a file that anybody may have written: "" where it is no string.
std::string text_in(const Json& object, std::string_view key);

}  // namespace r1
