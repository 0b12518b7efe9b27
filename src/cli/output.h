// cli/output.h: output to standard output and to JSONL files. A full disk or a closed pipe is always an
// Error.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "formats/json.h"
#include "formats/jsonl.h"

namespace r1 {

// Opens descriptors 0, 1 and 2 if they are closed, so that no other file gets one of these numbers. Ignores
// SIGPIPE, so that a closed pipe is an error of write().
void prepare_standard_streams();

void write_stdout(std::string_view text);           // unbuffered; throws Error
void write_stderr(std::string_view text) noexcept;  // ignores errors

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

// Writes one JSON object per line to a file or, for "-", to standard output.
class RowOutput {
 public:
  explicit RowOutput(const std::string& path);
  void write(const Json& row) { write_line(row.dump()); }
  void write_line(std::string_view line);  // without its newline
  void flush();
  void close();

 private:
  std::optional<FileWriter> file_;
  std::string buffer_;  // for standard output
};

// Returns the path of an --input; "-" is standard input.
std::filesystem::path input_path(const std::string& name);

// Throws Error if both names are one file. `other` is an input or another output, which `output` would
// replace.
void refuse_overwriting(const std::string& other, const std::string& output);

// {"row": N, "error": "..."}
Json error_row(int64_t row, std::string_view error);

// Returns the exit status for `bad` bad rows of `total`, and prints a line to stderr if there are any.
int status_of_rows(int64_t bad, int64_t total);

// Writes the result of `answer` for every row of `input` to standard output, or an error_row if the row is
// not JSON or `answer` throws Error. Returns the exit status.
int answer_rows(const std::string& input, const std::function<Json(const Json& row)>& answer);

}  // namespace r1
