// base/pending_file.h: a file that appears whole or not at all.
#pragma once

#include <filesystem>

namespace r1 {

// The caller writes to path(), the temporary name TARGET.r1-tmp, and closes it; commit() then renames it to
// `target`. Nothing at `target` is touched before commit(); without commit() the destructor removes the
// temporary file. If `target` is a symbolic link, the link stays and the file that it names is replaced. The
// new file gets the permissions of the file that it replaces.
//
// A pipe or a device cannot be replaced: if `target` is one, path() is `target` and commit() does nothing.
class PendingFile {
 public:
  // Throws Error if check_replaceable(target) does.
  explicit PendingFile(const std::filesystem::path& target);
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  const std::filesystem::path& path() const { return path_; }
  void commit();  // path() must be closed and synced; throws Error

 private:
  std::filesystem::path target_, path_;
  bool pending_ = true;
};

// True if `path` names a pipe, a device or a socket. Such files are written in place.
bool is_special_file(const std::filesystem::path& path);

// Throws Error if no file can be created or replaced at `target`: it is a folder or write-protected, or its
// folder does not exist or is not writable.
void check_replaceable(const std::filesystem::path& target);

}  // namespace r1
