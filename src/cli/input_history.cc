#include "cli/input_history.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* what) {
  throw Error(fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

// Writes the whole line with one write(), so that lines of several programs do not mix.
void write_line(const fs::path& path, int flags, std::string_view text) {
  const int fd = ::open(path.c_str(), flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) fail(path, "cannot be opened");
  const ssize_t written = ::write(fd, text.data(), text.size());
  ::close(fd);
  if (written != static_cast<ssize_t>(text.size())) fail(path, "cannot be written");
}

}  // namespace

fs::path history_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/')
    return fs::path(state) / "r1/history";  // a relative path is invalid by the XDG specification
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/') return "";
  return fs::path(home) / ".local/state/r1/history";
}

std::vector<std::string> load_history(const fs::path& path) {
  std::error_code none;
  if (!fs::exists(path, none)) return {};
  std::vector<std::string> lines = read_lines(path);
  if (lines.size() > 2 * kHistoryLines) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(kHistoryLines));
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    const fs::path temporary = path.string() + fmt::format(".{}", ::getpid());
    write_line(temporary, O_TRUNC, text);
    fs::rename(temporary, path, none);
  }
  std::vector<std::string> entries;
  for (const std::string& line : lines) {
    try {
      entries.push_back(parse_json(line, path.string()).string());
    } catch (const Error&) {  // the line was torn by a crash or is not ours
    }
  }
  if (entries.size() > kHistoryLines)
    entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(kHistoryLines));
  return entries;
}

void append_history(const fs::path& path, std::string_view text) {
  std::error_code problem;
  fs::create_directories(path.parent_path(), problem);
  if (problem) {
    throw Error(
        fmt::format("{}: the folder cannot be made: {}", path.parent_path().string(), problem.message()));
  }
  write_line(path, O_APPEND, Json(text).dump() + "\n");
}

}  // namespace r1
