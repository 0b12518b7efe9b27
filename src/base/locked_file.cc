#include "base/locked_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_error.h"

namespace r1 {

LockedFile::LockedFile(const std::filesystem::path& path) : path_(path) {
  struct stat info {};
  for (;;) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd_ < 0) fail_with_errno(path, "opening it for writing");
    const bool locked = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
    const int reason = errno;
    if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(fd_);
      throw Error(fmt::format("{}: is not a regular file", path.string()));
    }
    if (!locked && reason == EWOULDBLOCK) {
      ::close(fd_);
      throw Error(fmt::format("{}: another r1 is writing it", path.string()));
    }
    // On a file system without locks, the file is used unlocked. If the last holder has deleted the file in
    // the meantime, it has no name any more, and a new one is made.
    if (info.st_nlink > 0) break;
    ::close(fd_);
  }
  size_ = static_cast<int64_t>(info.st_size);
}

LockedFile::~LockedFile() {
  if (fd_ >= 0) ::close(fd_);
}

void LockedFile::append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd_, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with_errno(path_, "writing");
    text.remove_prefix(static_cast<size_t>(n));
    size_ += n;
  }
}

std::string LockedFile::read(int64_t begin, int64_t bytes) const {
  std::string out(static_cast<size_t>(bytes), '\0');
  for (int64_t done = 0; done < bytes;) {
    const ssize_t n = ::pread(fd_, out.data() + done, static_cast<size_t>(bytes - done), begin + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with_errno(path_, "reading");
    if (n == 0) throw Error(fmt::format("{}: was shortened while it was read", path_.string()));
    done += n;
  }
  return out;
}

void LockedFile::truncate(int64_t size) {
  if (::ftruncate(fd_, size) != 0) fail_with_errno(path_, "shortening it");
  size_ = size;
}

void LockedFile::sync() {
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail_with_errno(path_, "syncing it to disk");
}

void LockedFile::remove() {
  if (::unlink(path_.c_str()) != 0) fail_with_errno(path_, "deleting it");
}

}  // namespace r1
