#include "server/run_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace r1 {
namespace {

std::shared_ptr<const int> owned_fd(int fd) {
  return {new int(fd), [](const int* owned) {
            ::close(*owned);
            delete owned;
          }};
}

// Opens a directory inside another. Returns -1 if there is none of this name.
int open_folder(int parent, const char* name) {
  return ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool is_folder_entry(int parent, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat status {};
  return ::fstatat(parent, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

}  // namespace

bool is_entry_name(std::string_view name) {
  constexpr size_t kLongestName = 255;
  return !name.empty() && name.size() <= kLongestName && name.front() != '.' &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

std::string RunFile::read(int64_t begin, int64_t end) const {
  std::string out(static_cast<size_t>(std::max<int64_t>(end - begin, 0)), '\0');
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(*fd_, out.data() + done, out.size() - done, begin + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(fmt::format("a file of the run cannot be read: {}", std::strerror(errno)));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  out.resize(done);
  return out;
}

RunFolder::RunFolder(int fd) : fd_(owned_fd(fd)) {}

RunFolder::RunFolder(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    throw Error(fmt::format("{}: cannot be opened as a directory: {}", path.string(), std::strerror(errno)));
  fd_ = owned_fd(fd);
}

std::optional<RunFolder> RunFolder::folder(const std::string& name) const {
  if (!is_entry_name(name)) return std::nullopt;
  const int fd = open_folder(*fd_, name.c_str());
  if (fd < 0) return std::nullopt;
  return RunFolder(fd);
}

std::optional<RunFile> RunFolder::file(const std::string& name) const {
  struct stat status {};
  if (!is_entry_name(name)) return std::nullopt;
  // Looked at before it is opened, because to open a device may already do something.
  if (::fstatat(*fd_, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
    return std::nullopt;
  const int fd = ::openat(*fd_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  RunFile file;
  file.fd_ = owned_fd(fd);
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  file.size_ = status.st_size;
  file.modified_ = status.st_mtim.tv_sec;
  return file;
}

std::vector<std::string> RunFolder::folders(int64_t most, bool& cut) const {
  std::vector<std::string> names;
  const int fd =
      open_folder(*fd_, ".");  // its own position, as a directory's is shared by copies of a descriptor
  DIR* list = fd < 0 ? nullptr : ::fdopendir(fd);
  if (list == nullptr) {
    if (fd >= 0) ::close(fd);
    return names;
  }
  int64_t seen = 0;
  while (const dirent* entry = ::readdir(list)) {
    if (!is_entry_name(entry->d_name)) continue;
    if (++seen > most) {
      cut = true;
      break;
    }
    if (is_folder_entry(fd, *entry)) names.emplace_back(entry->d_name);
  }
  ::closedir(list);
  std::ranges::sort(names);
  return names;
}

}  // namespace r1
