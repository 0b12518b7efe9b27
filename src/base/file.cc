#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/error.h"
#include "base/file_changes.h"
#include "base/file_error.h"
#include "base/machine.h"

namespace r1 {
namespace fs = std::filesystem;

void fail_with_errno(const fs::path& path, std::string_view doing) {
  const int code = errno;
  if (code == ENOSPC || code == EDQUOT) {
    throw Error(fmt::format("{}: no space left on the device while {}", path.string(), doing));
  }
  throw Error(fmt::format("{}: {} failed: {}", path.string(), doing, std::strerror(code)));
}

namespace {

void (*change_hook)() = nullptr;

// Called before each change on disk.
void changing() {
  if (change_hook != nullptr) change_hook();
}

[[noreturn]] void fail(const fs::path& path, std::string_view doing) {
  fail_with_errno(path, doing);
}

void sync_path(const fs::path& path) {
  changing();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "opening it to sync");
  const int rc = ::fsync(fd);
  ::close(fd);
  if (rc != 0) fail(path, "syncing it to disk");
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path beside(const fs::path& path, std::string_view suffix) {
  fs::path clean = path;
  if (!clean.has_filename()) clean = clean.parent_path();  // "dir/" -> "dir"
  return clean.string() + std::string(suffix);
}

void rename_path(const fs::path& from, const fs::path& to) {
  changing();
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, "renaming the finished copy into place");
}

void remove_tree(const fs::path& path, std::error_code& ec) {
  changing();
  fs::remove_all(path, ec);
}

}  // namespace

void set_file_change_hook(void (*hook)()) {
  change_hook = hook;
}

std::string read_file(const fs::path& path) {
  std::error_code ec;
  if (fs::is_directory(path, ec)) throw Error(fmt::format("{}: is a directory, not a file", path.string()));
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)));
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) throw Error(fmt::format("{}: reading failed", path.string()));
  return text;
}

MappedFile::MappedFile(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "opening");
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    throw Error(fmt::format("{}: is not a regular file", path.string()));
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED) {
      const int why = errno;
      ::close(fd);
      if (const std::string scarce = ulimit_advice(); why == ENOMEM && !scarce.empty())
        throw Error(
            fmt::format("{}: its {} MiB cannot be mapped{}", path.string(), (size_ >> 20) + 1, scarce));
      errno = why;
      fail(path, "mapping");
    }
    data_ = static_cast<const std::byte*>(at);
  }
  ::close(fd);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

FileWriter::FileWriter(const fs::path& path, Mode mode) : path_(path) {
  const int how = mode == Mode::append ? O_APPEND : O_TRUNC;
  changing();
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | how, 0666);
  if (fd_ < 0) fail(path, "opening it for writing");
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void FileWriter::write(std::span<const std::byte> bytes) {
  constexpr size_t kBuffer = size_t{1} << 20;
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  if (buffer_.size() >= kBuffer) flush();
}

void FileWriter::write(std::string_view text) {
  write(std::as_bytes(std::span(text)));
}

void FileWriter::flush() {
  size_t done = 0;
  if (!buffer_.empty()) changing();
  while (done < buffer_.size()) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      buffer_.clear();
      fail(path_, "writing");
    }
    done += static_cast<size_t>(n);
  }
  buffer_.clear();
}

void FileWriter::close() {
  flush();
  changing();
  // Pipes and terminals cannot be synced, which is not an error.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS)
    fail(path_, "syncing it to disk");
  const int rc = ::close(fd_);
  fd_ = -1;
  if (rc != 0) fail(path_, "closing");
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  const fs::path temporary = beside(path, ".tmp");
  try {
    FileWriter out(temporary);
    out.write(text);
    out.close();
  } catch (...) {
    std::error_code ignored;
    remove_tree(temporary, ignored);
    throw;
  }
  rename_path(temporary, path);
  sync_path(parent_of(path));
}

void write_directory_atomically(const fs::path& path, const std::function<void(const fs::path&)>& fill) {
  const fs::path temporary = beside(path, ".tmp");
  const fs::path old = beside(path, ".old");
  recover_directory(path);
  std::error_code ec;
  changing();
  if (!fs::create_directories(temporary, ec) && ec) {
    throw Error(fmt::format("{}: cannot be created: {}", temporary.string(), ec.message()));
  }
  try {
    fill(temporary);
    for (const auto& entry : fs::recursive_directory_iterator(temporary)) sync_path(entry.path());
    sync_path(temporary);
  } catch (...) {
    std::error_code ignored;
    remove_tree(temporary, ignored);
    throw;
  }
  const bool replaces = fs::exists(path);
  if (replaces) rename_path(path, old);
  rename_path(temporary, path);
  sync_path(parent_of(beside(path, "")));
  if (replaces) remove_tree(old, ec);
}

void recover_directory(const fs::path& path) {
  const fs::path temporary = beside(path, ".tmp");
  const fs::path old = beside(path, ".old");
  std::error_code ec;
  // Between the two renames the newest whole copy is the old one under its spare name.
  if (!fs::exists(path) && fs::exists(old)) rename_path(old, path);
  remove_tree(old, ec);
  remove_tree(temporary, ec);
}

void truncate_lines(const fs::path& path, int64_t keep) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return;
  const std::string text = read_file(path);
  size_t end = 0;
  for (int64_t line = 0; line < keep; ++line) {
    const size_t newline = text.find('\n', end);
    if (newline == std::string::npos) break;
    end = newline + 1;
  }
  if (end == text.size()) return;
  changing();
  fs::resize_file(path, end, ec);
  if (ec) throw Error(fmt::format("{}: cannot be shortened: {}", path.string(), ec.message()));
}

std::vector<std::string> read_lines(const fs::path& path) {
  const std::string text = read_file(path);
  std::vector<std::string> lines;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    size_t stop = end;
    if (stop > begin && text[stop - 1] == '\r') --stop;
    lines.emplace_back(text.substr(begin, stop - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace r1
