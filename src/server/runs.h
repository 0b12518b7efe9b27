// server/runs.h: the Runs view: training runs below the directories of --runs, read while they are written.
//
//   GET /runs                        the runs that there are
//   GET /runs/metrics?run=ID         one run: progress, curves, warnings, figures of its evaluation
//   GET /runs/rollouts?run=ID&file=samples|evals&before=N&limit=N&verdict=all|right|wrong
//                                    answers with their verdicts, the newest first
//
// Everything is read and nothing is written. A run is named by its place, such as "0/r1-nano/zero": the number of
// the directory, then names. No name leads out of the directory (server/run_files.h). Files are read by their end,
// so that an answer's size and time are bounded.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

class Runs {
 public:
  Runs() = default;  // no directory, so no run
  // Throws Error if one of them is not a directory, or is named twice.
  explicit Runs(const std::vector<std::filesystem::path>& directories);

  static bool is_target(std::string_view target);

  // Answers a request. Throws ApiError: 400 for a parameter, 404 for a run or file that is not there. Any thread.
  Json answer(const std::string& target, const std::string& query) const;

 private:
  std::vector<std::filesystem::path> directories_;
};

}  // namespace r1
