// recipe/training_rows.h: reads the rows of [data] files that sft and pretrain learn from, and reports those
// that are left out.
//
//   [data] files = ["F.jsonl", "F.jsonl.gz", "F.json", "F.txt", ...]   relative to the configuration's folder
//          question, answer = "..."     Jinja over a row's fields, for rows in no known format (data/record.h)
//          shuffle = true               each epoch has an order of its own
//          split, held_out, limit, deduplicate                         data/row_selection.h
//
// A row is read as data/record.h recognises it. Rows of HumanEval (prompt, canonical_solution) and MBPP
// (text, code) are read too, because a model can learn from programs, although no verifier here can judge
// them. The column "task" is ignored, because no answer is judged here.
//
// A file whose name ends with .txt or .txt.gz is one document. It is not cut at blank lines, because these
// separate paragraphs in nearly every text, and a model would learn that a text ends after each paragraph. A
// file of many documents has rows {"text"}.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/record.h"
#include "data/row_selection.h"
#include "formats/config_file.h"

namespace r1 {

struct DataFiles {
  std::vector<std::string> files;  // absolute, or relative to the working directory
  RecordMapping mapping = {};
  RowSelection selection = {};
  bool shuffle = true;
  bool is_own = false;  // r1 has written the rows: notes mention only rows that are left out
};

// Reads the keys above. If the configuration names no files, the result has none. Throws Error if it then has
// one of the other keys.
DataFiles read_data_files(ConfigFile& file);

struct TrainingRow {
  std::string file;
  int64_t line = 0;  // 0: the whole file is the row
  const Json& row;   // an object; {} for a text file
  const Record& record;
  std::string where() const;  // "FILE:LINE", or "FILE"
};

// Thrown by the function `use` if a row is left out because of its length. `limit` names the limit that it
// exceeds.
class TooLong : public Error {
 public:
  TooLong(const std::string& what, std::string limit) : Error(what), limit_(std::move(limit)) {}
  const std::string& limit() const { return limit_; }

 private:
  std::string limit_;
};

// Calls use(row) for each chosen row. If use throws Error, the row is left out, counted and named. If use
// returns false, reading stops. After each file, `note` gets these lines:
// - the number of used rows and their formats;
// - one per reason why rows were left out, with the place and error of the first such row;
// - the columns that no row used.
// If reading was stopped, it gets only the reasons. Throws Error for a file that cannot be read or of which
// no row can be used.
void read_training_rows(const DataFiles& data, const std::function<bool(const TrainingRow&)>& use,
                        const std::function<void(const std::string&)>& note);

}  // namespace r1
