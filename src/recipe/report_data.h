// recipe/report_data.h: the data of a run, collected for its report.
//
// Stages are recognised by their files, not by their kind: a stage with metrics.jsonl is a training stage,
// one with figures that have a pass_at_1 (in recipe.json or eval.json) is an evaluation, and a stage may be
// both. So a new kind of stage is shown without a change here. The collected object has these members:
//
//   name
//   written       "2026-11-22 18:10 UTC": the time of the newest file
//   facts         [{name, value}]
//   training      [training_curves() with name, kind, finished, base, teacher, settings {some of run.json's},
//                 spent {trained, sampled, ...: tokens}, rollouts: training_rollouts()]
//   evaluations   [{name, task, model, figures, outcomes: Samples::outcomes}]
//   comparisons   [compare()]
//   example       {task, question, answer}: a problem and a right answer
//   models        [{name, architecture, parameters, ...}]
//   repeat        {commands, changed [files], files [{name, text, note}]}
//   missing       [sentences]
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

// Throws Error if `run` is not a run, or if its recipe.json cannot be read. Anything else that cannot be read
// becomes a sentence of "missing".
Json collect_report(const std::filesystem::path& run);

// The kinds of a run of one stage, which are also the commands that make such runs.
inline constexpr std::array<std::string_view, 5> kTrainingKinds{"pretrain", "sft", "grpo", "ppo", "distill"};

bool is_there(const std::filesystem::path& path);  // false if the path cannot be checked

// Sentences that say what is left out and why.
using Missing = std::vector<std::string>;

// Returns metrics.jsonl as columns, one per numeric field in order of appearance:
//   rows
//   every             one row in this many is kept
//   columns           {name: [number or null]}
//   zero              [names of columns that are 0 in every row]
//   ends              {name: [first, last]}
//   phases            [{name, median, share}] of the time of a step
//   sampler_trainer   the largest sampler_trainer_max_abs; only if it was measured
//   tokens, wall_s    of the last row
Json training_curves(const std::filesystem::path& metrics, Missing& missing);

// Returns the same for rows that the caller reads: next(row) gives one object at a time, and false at the end. At
// most `most_rows` rows are kept, at even distances and the last one among them.
Json curves_of_rows(const std::function<bool(Json& row)>& next, int64_t most_rows, Missing& missing);

// Returns the rollouts of a reinforcement learning stage's samples.jsonl, from at most kMostSteps of its
// steps:
//   [{step, samples, right, cut_off, reward, question, group [{correct, cut_off, reward, advantage, tokens}],
//     best, worst {thought, answer, correct, why, reward, advantage, tokens}}]
// `group` has the answers to the step's first problem whose rewards differ, or to its first problem if there
// is none. `best` and `worst` are the answers with the highest and the lowest advantage. Texts are decoded
// with the first of `models` that has a tokenizer.
inline constexpr size_t kMostSteps = 7;
Json training_rollouts(const std::filesystem::path& samples, const std::vector<std::filesystem::path>& models,
                       Missing& missing);

struct FirstAnswer {
  std::string question, thought, answer, why;
  bool correct = false;
  int64_t tokens = 0;
};

// An evaluation's samples.jsonl.
struct Samples {
  std::map<int64_t, FirstAnswer> first;  // by problem, its first sample
  // {samples, right, cut_off, limit, wrong [{why, count}]}, or null if there are no samples. `limit` is the
  // tokens of the longest answer that was cut off; `wrong` counts the remaining wrong answers, most frequent
  // first.
  Json outcomes;
};
Samples read_samples(const std::filesystem::path& path, Missing& missing);
// Returns at most kMostText bytes of `text`, cut between characters.
std::string shortened(const std::string& text);

struct Evaluation {
  std::string name;               // of the stage
  std::filesystem::path samples;  // its samples.jsonl, which may be missing
  Json figures;                   // as recipe.json or eval.json has them
};

// Returns every object within `result` that has a pass_at_1. A nested one is named STAGE/KEY.
std::vector<Evaluation> find_evaluations(const std::string& stage, const std::filesystem::path& directory,
                                         const Json& result);

// The origin of a stage's model; "" for what is not known.
struct Origin {
  std::string stage, kind;
  std::string base, teacher;  // paths of models
};

// Returns pairs of evaluations of one task, with the same number of problems and samples, that can be
// compared:
//   what = "training"   a stage's model before and after
//   what = "teacher"    a stage's teacher, and its student after
//   what = "method"     the models of two stages, made from the same base
//
// Each pair is {what, stage, kind, task, before, after, turned_right, turned_wrong, stayed_right,
// stayed_wrong, examples}. The counts are over the first sample of each problem; `examples` has a few of them
// in full (none for "method"). `samples` has those of each evaluation.
Json compare(const std::vector<Origin>& origins, const std::vector<Evaluation>& evaluations,
             const std::vector<Samples>& samples);

// Returns a model's display name: the stage that made it, or its folder.
std::string model_label(const std::string& path);

// Returns how a run is repeated: `repeat` above. `run` is its directory.
Json repeat_recipe(const std::filesystem::path& run, const std::string& seed, Missing& missing);
Json repeat_stage(const std::filesystem::path& run, const std::string& kind, Missing& missing);

// Returns the string in a field of an untrusted file; "" if it is not a string.
std::string text_in(const Json& object, std::string_view key);

}  // namespace r1
