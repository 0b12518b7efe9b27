#include "base/pending_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file_error.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

fs::path folder_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

// Returns the end of a chain of symbolic links; that file need not exist.
fs::path behind_links(const fs::path& path) {
  constexpr int kMostLinks = 40;  // the kernel's limit
  fs::path at = path;
  std::error_code none;
  for (int i = 0; i < kMostLinks && fs::is_symlink(at, none); ++i) {
    const fs::path next = fs::read_symlink(at, none);
    at = next.is_absolute() ? next : at.parent_path() / next;
  }
  return at;
}

void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_with_errno(folder, "opening it to sync");
  const bool failed = ::fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS;
  const int reason = errno;
  ::close(fd);
  errno = reason;
  if (failed) fail_with_errno(folder, "syncing it to disk");
}

}  // namespace

bool is_special_file(const fs::path& path) {
  std::error_code none;
  const fs::file_status status = fs::status(path, none);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

void check_replaceable(const fs::path& target) {
  if (target.empty()) throw Error("the name of an output file is empty");
  if (is_special_file(target)) return;
  const fs::path real = behind_links(target);
  std::error_code none;
  if (fs::is_directory(real, none) || !real.has_filename())
    throw Error(fmt::format("{}: is a folder; the output must be a file", target.string()));
  const fs::path folder = folder_of(real);
  if (!fs::exists(folder, none))
    throw Error(fmt::format("{}: the folder {} does not exist", target.string(), folder.string()));
  if (!fs::is_directory(folder, none))
    throw Error(fmt::format("{}: {} is not a folder", target.string(), folder.string()));
  if (fs::exists(real, none) && ::access(real.c_str(), W_OK) != 0)
    throw Error(fmt::format("{}: is write-protected", target.string()));
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    throw Error(fmt::format("{}: the folder {} is not writable", target.string(), folder.string()));
}

PendingFile::PendingFile(const fs::path& target) {
  check_replaceable(target);
  if (is_special_file(target)) {
    path_ = target;
    pending_ = false;
    return;
  }
  target_ = behind_links(target);
  path_ = target_.string() + ".r1-tmp";
}

PendingFile::~PendingFile() {
  if (pending_) ::unlink(path_.c_str());
}

void PendingFile::commit() {
  if (!pending_) return;
  struct stat old {};
  if (::stat(target_.c_str(), &old) == 0 && ::chmod(path_.c_str(), old.st_mode & 07777) != 0)
    fail_with_errno(path_, "giving it the permissions of the file that it replaces");
  if (::rename(path_.c_str(), target_.c_str()) != 0)
    fail_with_errno(target_, "renaming the finished copy into place");
  pending_ = false;
  sync_folder(folder_of(target_));
}

}  // namespace r1
