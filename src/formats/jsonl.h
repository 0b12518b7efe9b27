// formats/jsonl.h: JSON Lines: one JSON value per line.
//
// A bad row does not stop the reader: it reports the row, goes on after it, and the caller decides. Blank
// lines are skipped. A gzip file is unpacked as it is read (formats/text_stream.h). A file whose name ends
// with .json or .json.gz and whose text begins with [ is one array: its elements are the rows, in one line or
// over many.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "formats/json.h"
#include "formats/text_stream.h"

namespace r1 {

struct JsonlRow {
  int64_t row = 0;    // from 0, blank lines not counted
  int64_t line = 0;   // from 1; of an array's element: the line on which it begins
  Json value;         // errors of its accessors read "F.jsonl:12: prompt is ..."
  std::string error;  // not empty: the line is not JSON ("F.jsonl:12: offset 3: ..."), value is null
};

class JsonlReader {
 public:
  explicit JsonlReader(const std::filesystem::path& path);
  JsonlReader(const JsonlReader&) = delete;
  JsonlReader& operator=(const JsonlReader&) = delete;
  // False at the end. Throws Error if the file itself is damaged.
  bool next(JsonlRow& row);
  // SHA-256 of the file's bytes, however much of it has been read.
  std::string content_sha256() const { return text_.content_sha256(); }

 private:
  bool next_line(JsonlRow& row);
  bool next_element(JsonlRow& row);
  void begin_array();
  int skip_space();
  size_t element_size();
  void parse(std::string_view text, JsonlRow& row);
  void consume(size_t bytes);

  std::string path_;
  TextStream text_;
  enum class Form : uint8_t { lines, first_element, elements, ended } form_ = Form::lines;
  int64_t rows_ = 0;
  int64_t lines_ = 0;  // that have begun
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
