// base/locked_file.h: a file that only one process at a time may append to and read from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace r1 {

// Every function throws Error with the path and the system's reason.
class LockedFile {
 public:
  // Opens the file, or creates an empty one. Throws Error if another process holds it.
  explicit LockedFile(const std::filesystem::path& path);
  LockedFile(const LockedFile&) = delete;
  LockedFile& operator=(const LockedFile&) = delete;
  ~LockedFile();  // closes the file and leaves it on disk

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return size_; }
  // Writes `text` to the system at once, without a buffer, so that it outlives the process.
  void append(std::string_view text);
  std::string read(int64_t begin, int64_t bytes) const;  // [begin, begin + bytes) must be within size()
  void truncate(int64_t size);
  void sync();    // to the disk
  void remove();  // deletes the file's name while it is still held

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

}  // namespace r1
