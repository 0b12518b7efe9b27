// reward/data_check.h: what a file of data holds: formats, rows that cannot be used and why, lengths, duplicates, and
// overlap with evaluations.
//
// Files are read row by row. What is kept of a row is its lengths and two hashes; of the evaluations, a hash for every
// sequence of ten words (data/overlap.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/overlap.h"
#include "data/record.h"
#include "formats/json.h"

namespace r1 {

// Rows that share a property.
struct RowGroup {
  static constexpr size_t kMostLines = 5;
  std::string what;  // a reason, or the words of the first row
  int64_t rows = 0;
  std::vector<int64_t> lines;  // the first ones
  void add(int64_t line) {
    if (lines.size() < kMostLines) lines.push_back(line);
    ++rows;
  }
};

// Of the rows that have the text.
struct Lengths {
  int64_t rows = 0, shortest = 0, median = 0, most = 0, longest = 0;  // most: 95 % are no longer
};

struct FileCheck {
  std::string path;
  int64_t rows = 0;                        // all but blank lines
  std::map<std::string, int64_t> formats;  // rows by Record::format
  std::vector<RowGroup> dropped;           // rows that are no record, by reason
  int64_t problems = 0;                    // rows with a question and an answer that a verifier can judge
  std::vector<RowGroup> not_judged;        // the others, by reason
  std::map<std::string, Lengths> characters,
      tokens;           // by "question", "answer", "conversation", "text"; tokens: with a model
  RowGroup duplicates;  // the question (or text) and answer of an earlier row, of this file or one before
  RowGroup conflicts;   // the question of an earlier row with another final answer
  std::vector<RowGroup> overlap;  // rows that share words with an evaluation, by its number
  int64_t read() const;
};

class DataCheck {
 public:
  struct Options {
    RecordMapping mapping = {};
    std::vector<std::string> against = {};                       // files of evaluations
    std::function<int64_t(std::string_view)> count_tokens = {};  // empty: tokens are not counted
  };
  // Reads the evaluations. Throws Error for one that cannot be read.
  explicit DataCheck(Options options);
  // Throws Error if the file cannot be read at all.
  FileCheck check(const std::filesystem::path& path);

 private:
  void compare(const Record& record, int64_t line, FileCheck& out);

  Options options_;
  OverlapIndex index_;
  std::unordered_map<uint64_t, uint64_t> seen_;  // hash of a question -> of its answer
};

Json to_json(const FileCheck& check, const std::vector<std::string>& against);

}  // namespace r1
