// cli/output.h: everything that goes to standard output or to a JSONL file. A full disk or a closed pipe is
// an Error, never silence.
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

// Makes sure that descriptors 0, 1 and 2 are taken, so that no file of ours becomes one of them, and ignores
// SIGPIPE: a closed pipe is then an error of write().
void prepare_standard_streams();

void write_stdout(std::string_view text);           // at once; throws Error
void write_stderr(std::string_view text) noexcept;  // as far as it goes

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

// One JSON object a line, to a file or ("-") to standard output.
class RowOutput {
 public:
  explicit RowOutput(const std::string& path);
  void write(const Json& row) { write_line(row.dump()); }
  void write_line(std::string_view line);  // without its newline
  void flush();
  void close();

 private:
  std::optional<FileWriter> file_;
  std::string buffer_;  // of standard output
};

// The path of an --input: "-" is standard input.
std::filesystem::path input_path(const std::string& name);

// Throws Error if both name one file: the output would replace the other, an input or another output.
void refuse_overwriting(const std::string& other, const std::string& output);

// {"row": N, "error": "..."}
Json error_row(int64_t row, std::string_view error);

// Exit status for `bad` bad rows of `total`, and a line on stderr where there are any.
int status_of_rows(int64_t bad, int64_t total);

// Answers every row of `input` on standard output: with what `answer` gives, or with an error_row where the
// row is no JSON or `answer` throws Error. Returns the exit status.
int answer_rows(const std::string& input, const std::function<Json(const Json& row)>& answer);

}  // namespace r1
