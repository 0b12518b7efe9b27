// server/run_files.h: files below a directory that the user named, for requests from outside.
//
// Every step down opens one name inside an open directory and follows no symbolic link, so no path leads out of
// the directory, whatever its files are. Only regular files are read: opening never waits for a pipe and never
// touches a device. A file is read in parts; one that shrinks meanwhile gives fewer bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

class RunFile {
 public:
  int64_t size() const { return size_; }          // bytes when it was opened
  int64_t modified() const { return modified_; }  // seconds since 1970
  // Returns the bytes from `begin` to `end`, fewer if the file has become shorter. Throws Error if they cannot be
  // read.
  std::string read(int64_t begin, int64_t end) const;

 private:
  friend class RunFolder;
  std::shared_ptr<const int> fd_;
  int64_t size_ = 0, modified_ = 0;
};

class RunFolder {
 public:
  // Opens a directory that the user named. Throws Error.
  explicit RunFolder(const std::filesystem::path& path);

  // The directory or regular file of this name inside this one; no value if there is none.
  std::optional<RunFolder> folder(const std::string& name) const;
  std::optional<RunFile> file(const std::string& name) const;

  // Names of the directories inside this one, sorted. At most `most` entries of any kind are looked at; `cut` is
  // set if there are more. Hidden ones are left out.
  std::vector<std::string> folders(int64_t most, bool& cut) const;

 private:
  explicit RunFolder(int fd);
  std::shared_ptr<const int> fd_;
};

// True if a name can stand for one entry of a directory: not empty, not "." or "..", without "/" and NUL, not
// hidden, at most 255 bytes.
bool is_entry_name(std::string_view name);

}  // namespace r1
