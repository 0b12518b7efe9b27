// base/file_reader.h: reads parts of a file that stays open, without mapping it.
//
// A mapped file that is cut while it is in use ends the program by SIGBUS. Here it is an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace r1 {

// Any thread may read. A file that is renamed or deleted stays readable.
class FileReader {
 public:
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // when it was opened
  // Fills `to` from byte `begin` on. `what` is what is read, for the message ("tensor w"); it may be empty.
  // Throws Error if the file was cut or changed since it was opened. Bytes past its end are a broken
  // invariant.
  void read(uint64_t begin, std::span<std::byte> to, std::string_view what = "") const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  int64_t seconds_ = 0, nanoseconds_ = 0;  // of the last change when it was opened
};

}  // namespace r1
