#include "reward/program/program_worker.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/ascii.h"
#include "formats/shown.h"
#include "reward/program/program_pool.h"

namespace r1 {
namespace {

constexpr size_t kLastWords = 200;  // bytes of standard error that are quoted at most
constexpr size_t kChunk = 64 * 1024;

// Appends the bytes that can be read now, at most one chunk. Returns false at the end of the file.
bool read_chunk(int fd, std::string& to) {
  std::array<char, kChunk> chunk;
  const ssize_t n = ::read(fd, chunk.data(), chunk.size());
  if (n > 0) to.append(chunk.data(), static_cast<size_t>(n));
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

}  // namespace

void ProgramWorker::start() {
  child_.reset();
  used_ = false;
  to_write_.clear();
  read_.clear();
  last_words_.clear();
  done_.clear();
  child_.emplace(config_.command, config_.folder, config_.memory_mb * 1024 * 1024, guard_);
}

void ProgramWorker::restart_clock() {
  deadline_ = Clock::now() +
              std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(config_.timeout_s));
}

void ProgramWorker::send(size_t row, const std::string& id, std::string_view line) {
  if (asked.empty()) restart_clock();
  asked.push_back({row, id});
  used_ = true;
  to_write_ += line;
  to_write_ += '\n';
}

void ProgramWorker::write_some() {
  const ssize_t n = ::write(input(), to_write_.data(), to_write_.size());
  // The process no longer reads. The end of its output or the time-out will show why.
  if (n < 0 && errno != EAGAIN && errno != EINTR) to_write_.clear();
  if (n > 0) to_write_.erase(0, static_cast<size_t>(n));
}

void ProgramWorker::read_errors() {
  read_chunk(errors(), last_words_);
  if (last_words_.size() > kLastWords) last_words_.erase(0, last_words_.size() - kLastWords);
}

bool ProgramWorker::read_some() {
  return read_chunk(output(), read_);
}

std::optional<std::string> ProgramWorker::line(bool& too_long) {
  const size_t end = read_.find('\n');
  too_long = std::min(end, read_.size()) > kMaxAnswerLine;
  if (end == std::string::npos || too_long) return std::nullopt;
  std::string out = read_.substr(0, end);
  read_.erase(0, end + 1);
  return out;
}

std::optional<size_t> ProgramWorker::answered(const std::string& id) {
  const auto at = std::ranges::find(asked, id, &Asked::id);
  if (at == asked.end()) return std::nullopt;
  const size_t row = at->row;
  asked.erase(at);
  done_.insert(id);
  restart_clock();
  return row;
}

std::string ProgramWorker::stop(std::string_view otherwise, int wait_ms) {
  if (!child_) return std::string(otherwise);
  const std::string ended = child_->end(wait_ms);
  for (int i = 0; i < 4; ++i) read_errors();  // four chunks are more than a pipe holds
  std::string out = ended.empty() ? std::string(otherwise) : "it " + ended;
  std::string_view words = trim(last_words_);
  if (!words.empty()) out += "; its standard error ends with " + shown(words);
  child_.reset();
  asked.clear();
  alone = false;
  return out;
}

}  // namespace r1
