#include "cli/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/pending_file.h"

namespace r1 {

void prepare_standard_streams() {
  for (const int fd : {0, 1, 2}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // open() returns the lowest free descriptor, which is `fd`. stdout is opened for reading, so that writes
    // to a closed stdout still fail.
    [[maybe_unused]] const int opened = ::open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(1, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(fmt::format("standard output: writing failed: {}", std::strerror(errno)));
    text.remove_prefix(static_cast<size_t>(n));
  }
}

void write_stderr(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t n = ::write(2, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

bool stdin_is_terminal() {
  return ::isatty(0) == 1;
}
bool stdout_is_terminal() {
  return ::isatty(1) == 1;
}
bool stderr_is_terminal() {
  return ::isatty(2) == 1;
}

RowOutput::RowOutput(const std::string& path) {
  if (path != "-") file_.emplace(path);
}

void RowOutput::write_line(std::string_view line) {
  if (file_) {
    file_->write(line);
    file_->write("\n");
    return;
  }
  constexpr size_t kBuffer = size_t{1} << 16;
  buffer_ += line;
  buffer_ += '\n';
  if (buffer_.size() >= kBuffer) flush();
}

void RowOutput::flush() {
  if (file_) {
    file_->flush();
    return;
  }
  write_stdout(buffer_);
  buffer_.clear();
}

void RowOutput::close() {
  flush();
  if (file_) file_->close();
}

std::filesystem::path input_path(const std::string& name) {
  return name == "-" ? "/dev/stdin" : name;
}

void refuse_overwriting(const std::string& input, const std::string& output) {
  std::error_code none;
  if (input.empty() || output.empty() || output == "-" || is_special_file(output)) return;
  const bool same_file = std::filesystem::is_regular_file(output, none) &&
                         std::filesystem::equivalent(input_path(input), output, none);
  const bool same_name = std::filesystem::absolute(input, none).lexically_normal() ==
                         std::filesystem::absolute(output, none).lexically_normal();
  if (same_file || (same_name && input != "-"))
    throw Error(fmt::format("{}: is named twice, once as an output: give the output another name", output));
}

Json error_row(int64_t row, std::string_view error) {
  Json out = Json::object();
  out.set("row", row).set("error", error);
  return out;
}

int status_of_rows(int64_t bad, int64_t total) {
  if (bad == 0) return 0;
  write_stderr(fmt::format("r1: {} of {} rows could not be used, their \"error\" says why\n", bad, total));
  return 2;
}

int answer_rows(const std::string& input, const std::function<Json(const Json& row)>& answer) {
  JsonlReader reader(input_path(input));
  RowOutput out("-");
  int64_t bad = 0, total = 0;
  for (JsonlRow row; reader.next(row);) {
    ++total;
    std::string error = row.error;
    if (error.empty()) {
      try {
        out.write(answer(row.value));
        continue;
      } catch (const Error& e) {
        error = e.what();
      }
    }
    ++bad;
    out.write(error_row(row.row, error));
  }
  out.close();
  return status_of_rows(bad, total);
}

}  // namespace r1
