#include "base/file_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_error.h"

namespace r1 {

FileReader::FileReader(const std::filesystem::path& path) : path_(path.string()) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail_with_errno(path, "opening");
  struct stat info {};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd_);
    throw Error(fmt::format("{}: is not a regular file", path_));
  }
  size_ = static_cast<uint64_t>(info.st_size);
  seconds_ = info.st_mtim.tv_sec;
  nanoseconds_ = info.st_mtim.tv_nsec;
}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

void FileReader::read(uint64_t begin, std::span<std::byte> to, std::string_view what) const {
  R1_CHECK(begin <= size_ && to.size() <= size_ - begin, path_, ": bytes ", begin, " to ", begin + to.size(),
           " of ", size_);
  const auto fail = [&](const std::string& reason) {
    throw Error(fmt::format("{}: {}{}{}", path_, what, what.empty() ? "" : ": ", reason));
  };
  struct stat now {};
  if (::fstat(fd_, &now) != 0) fail_with_errno(path_, "reading");
  if (static_cast<uint64_t>(now.st_size) < size_) {
    fail(
        fmt::format("the file was cut from {} to {} bytes while it was in use: put the whole file back and "
                    "start again",
                    size_, now.st_size));
  }
  if (now.st_mtim.tv_sec != seconds_ || now.st_mtim.tv_nsec != nanoseconds_)
    fail("the file was written to while it was in use: start again");
  while (!to.empty()) {
    const ssize_t got = ::pread(fd_, to.data(), to.size(), static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_with_errno(path_, "reading");
    if (got == 0) fail(fmt::format("the file ends at byte {} while it is in use: start again", begin));
    to = to.subspan(static_cast<size_t>(got));
    begin += static_cast<uint64_t>(got);
  }
}

}  // namespace r1
