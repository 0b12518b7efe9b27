// data/problem_source.h: the problems of a training, by index: a task's generated ones or those of files.
//
// Problem `index` is a pure function of the settings, the seed, the files' content and the index, so that a resumed run
// goes on with the same ones. A task's list is endless. Files are read once; problem `index` is of epoch index / size():
// with `shuffle` each epoch takes all problems in an order of its own, a function of (seed, epoch).
//
//   [data] task = "countdown3"            generated problems; with files, the task of rows that name none (default: math)
//          files = ["F.jsonl", ...]       rows as in data/record.h; relative paths count from the configuration's folder
//          question, answer = "..."       Jinja expressions over a row's fields, if it is in no known format
//          split = "all"                  or "train", "held_out": the side that a hash of the question gives
//          held_out = 0.05                share of the questions that are held out
//          limit = 0                      problems that are used, the first ones; 0: all
//          shuffle = true
//          deduplicate = true             of rows with the same question and gold, only the first is used
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/problem_file.h"
#include "data/row_selection.h"
#include "data/split.h"
#include "data/task.h"
#include "formats/config_file.h"

namespace r1 {

struct ProblemData {
  std::string task = "countdown3";
  std::vector<std::string> files = {};  // empty: the task's generated problems
  RecordMapping mapping = {};
  std::string question = {}, answer = {};  // the mapping's text
  using Side = RowSelection::Side;
  Side side = Side::all;
  double held_out = 0.05;
  int64_t limit = 0;
  bool shuffle = true, deduplicate = true;
  GoldIs gold = GoldIs::required;  // optional: the user's program judges, whatever the gold is
};

// Reads the keys above. Throws Error at the key, also for a task whose problems cannot be generated for training.
ProblemData read_problem_data(ConfigFile& file);

class ProblemSource {
 public:
  // A task's list. Throws as check_task does.
  static ProblemSource of_task(const std::string& task, uint64_t seed, Split split);
  // What `data` says: generated problems of the training side, or those of the files that pass the check. Throws Error
  // if a file cannot be read or no problem is left.
  static ProblemSource open(const ProblemData& data, uint64_t seed, const ProblemCheck& check);

  Problem at(int64_t index) const;  // index >= 0. Safe from any thread.
  // Problems of an epoch; 0: the list is endless.
  int64_t size() const;
  // Lines for the user: what was read of each file, rows that were left out and why.
  const std::vector<std::string>& notes() const;

 private:
  struct State;
  explicit ProblemSource(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace r1
