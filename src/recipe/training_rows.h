// recipe/training_rows.h: the rows of [data] files that sft and pretrain learn from, and the account of those
// that are left out.
//
//   [data] files = ["F.jsonl", "F.jsonl.gz", "F.json", "F.txt", ...]   relative to the configuration's folder
//          question, answer = "..."     Jinja over a row's fields, for rows in no known format (data/record.h)
//          shuffle = true               each epoch takes the documents in an order of its own
//          split, held_out, limit, deduplicate                         data/row_selection.h
//
// A row is read as data/record.h recognises it. Rows of HumanEval (prompt, canonical_solution) and MBPP (text,
// code) are read too: a program is as good to learn from as any other answer. The column "task" is ignored:
// no answer is judged here.
//
// A file whose name ends with .txt or .txt.gz is one document. It is not cut at blank lines: they separate
// paragraphs in nearly every text, and a model would learn that a text ends after each. Files of many
// documents have rows {"text"}.
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
  bool is_own = false;  // rows that r1 has written: notes tell only of those that are left out
};

// Reads the keys above; no files if the configuration names none, and then Error for one of the other keys.
DataFiles read_data_files(ConfigFile& file);

struct TrainingRow {
  std::string file;
  int64_t line = 0;  // 0: the whole file is the row
  const Json& row;   // an object; for a text file {}
  const Record& record;
  std::string where() const;  // "FILE:LINE", or "FILE"
};

// Thrown by the user of a row that is left out because of its length. `limit` names what it exceeds.
class TooLong : public Error {
 public:
  TooLong(const std::string& what, std::string limit) : Error(what), limit_(std::move(limit)) {}
  const std::string& limit() const { return limit_; }

 private:
  std::string limit_;
};

// Calls use(row) for each chosen row. If use throws Error, the row is left out, counted and named. If it
// returns false, nothing more is read. After each file, `note` gets one line with what was used of it, in which
// formats, one for each reason why rows were left out, with the first one's place and reason, and one for columns
// that no row used; where the reading was stopped, only the reasons. Throws Error for a file
// that cannot be read, and for one of which no row can be used.
void read_training_rows(const DataFiles& data, const std::function<bool(const TrainingRow&)>& use,
                        const std::function<void(const std::string&)>& note);

}  // namespace r1
