// formats/jsonl.h: JSON Lines: one JSON value per line.
//
// A bad row does not stop the reader: it reports the row, goes on after it, and the caller decides. Blank
// lines are skipped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "formats/json.h"

namespace r1 {

struct JsonlRow {
  int64_t row = 0;    // from 0, blank lines not counted
  int64_t line = 0;   // from 1
  Json value;         // errors of its accessors read "F.jsonl:12: prompt is ..."
  std::string error;  // not empty: the line is not JSON ("F.jsonl:12: offset 3: ..."), value is null
};

class JsonlReader {
 public:
  explicit JsonlReader(const std::filesystem::path& path);  // regular files are mapped, pipes are read whole
  JsonlReader(const JsonlReader&) = delete;
  JsonlReader& operator=(const JsonlReader&) = delete;
  // False at the end.
  bool next(JsonlRow& row);
  // The whole file, however much of it has been read.
  std::string_view text() const { return all_; }

 private:
  std::string path_;
  MappedFile file_;
  std::string text_;  // the text, if the file cannot be mapped
  std::string_view all_;
  std::string_view rest_;
  int64_t rows_ = 0;
  int64_t lines_ = 0;
};

// Returns all rows; throws Error for the first bad one. For files of ours, in which a bad row means damage.
std::vector<Json> read_jsonl(const std::filesystem::path& path);

class JsonlWriter {
 public:
  explicit JsonlWriter(const std::filesystem::path& path, FileWriter::Mode mode = FileWriter::Mode::create);
  void write(const Json& value);  // appends a newline
  void flush() { out_.flush(); }
  void close() { out_.close(); }

 private:
  FileWriter out_;
};

}  // namespace r1
