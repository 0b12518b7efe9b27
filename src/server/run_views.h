// server/run_views.h: parts of a run's files as the JSON of the Runs view. The bytes may come from anybody.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace r1 {

// Bytes of a file of rows from `begin` on. The first row may be incomplete unless `begin` is 0; the last one may
// be torn, because a training may be writing it.
struct FilePart {
  std::string_view text;
  int64_t begin = 0;
};

// Returns what the last part of metrics.jsonl says:
//   curves     training_curves() of recipe/report_data.h, of at most 500 rows
//   last       the numbers of the last row
//   warnings   sentences of TrainingWatch (train/watch.h); none if the part is not the whole file
//   missing    sentences that say what is left out, and why
Json metrics_view(FilePart part);

// The numbers of the last whole row; an empty object if there is none.
Json last_row_view(FilePart part);

enum class VerdictFilter : uint8_t { all, right, wrong };

struct RolloutQuery {
  int64_t limit = 50;
  VerdictFilter verdict = VerdictFilter::all;
};

// The last rows of a part of samples.jsonl or evals.jsonl, the newest first:
//   rows       [{step, problem, sample, eval, task, question, gold, thought, answer, correct, why, status, reward,
//              advantage, tokens, finish_reason, begin}]; a field that a row lacks is left out. `tokens` is a
//              count, and `begin` the row's place in the file
//   older      the end of the part of the file that precedes these rows; null at the file's beginning
//   unreadable the number of rows that are left out because they are not rows of samples
// The texts are shortened, and rows beyond 2 MB of texts are left to the next part.
Json rollouts_view(FilePart part, const RolloutQuery& query);

}  // namespace r1
