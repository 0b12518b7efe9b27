// reward/data_check.h: reports what a data file holds: formats, rows that cannot be used and why, lengths,
// duplicates, and overlap with evaluations.
//
// Files are read row by row. Only the lengths and two hashes of a row are kept. Of the evaluations, a hash of
// every sequence of ten words is kept (data/overlap.h).
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
  std::string what;  // the reason, or the shared words of the first row
  int64_t rows = 0;
  std::vector<int64_t> lines;  // of the first rows
  void add(int64_t line) {
    if (lines.size() < kMostLines) lines.push_back(line);
    ++rows;
  }
};

// Lengths of one part of the rows, over the rows that have it.
struct Lengths {
  int64_t rows = 0, shortest = 0, median = 0, most = 0, longest = 0;  // most: the 95th percentile
};

struct FileCheck {
  std::string path;
  int64_t rows = 0;                        // lines that are not blank
  std::map<std::string, int64_t> formats;  // Record::format -> number of rows
  std::vector<RowGroup> dropped;           // rows that cannot be read, by reason
  int64_t problems = 0;                    // rows with a question and an answer that a verifier can judge
  std::vector<RowGroup> not_judged;        // all other rows, by reason
  std::map<std::string, Lengths> characters,
      tokens;                     // keys: "question", "answer", "conversation", "text"; tokens need a model
  RowGroup duplicates;            // rows that repeat the question (or text) and answer of an earlier row
  RowGroup conflicts;             // rows that repeat the question with another final answer
  std::vector<RowGroup> overlap;  // rows that share words with an evaluation, one entry per evaluation
  int64_t read() const;
};

class DataCheck {
 public:
  struct Options {
    RecordMapping mapping = {};
    std::vector<std::string> against = {};                       // files with evaluations
    std::function<int64_t(std::string_view)> count_tokens = {};  // empty: tokens are not counted
  };
  // Reads the evaluations. Throws Error if one cannot be read.
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
