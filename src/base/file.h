// base/file.h: files. Every function throws Error with the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

std::string read_file(const std::filesystem::path& path);

// A read-only mapping of a whole file. It can be moved, not copied.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Buffered, checked output. close() flushes, syncs to disk and reports any failure; the destructor only
// releases the file.
class FileWriter {
 public:
  enum class Mode { create, append };
  explicit FileWriter(const std::filesystem::path& path, Mode mode = Mode::create);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void flush();  // to the system, not to the disk
  void close();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  std::vector<std::byte> buffer_;
};

// Writes to a temporary name beside `path`, syncs, renames. A crash leaves the old file or the new one.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// The same for a directory: calls fill(temporary directory), syncs every file and renames the directory to
// `path`. An existing directory is first moved aside and removed last. A crash leaves either the old
// directory or the new one; recover_directory(path), which callers run before they read `path`, removes
// what a crash left behind.
void write_directory_atomically(const std::filesystem::path& path,
                                const std::function<void(const std::filesystem::path&)>& fill);
void recover_directory(const std::filesystem::path& path);

// Keeps only the first `keep` lines of a JSONL file and removes a torn last line. A missing file is no error.
void truncate_lines(const std::filesystem::path& path, int64_t keep);

// Returns every line of a text file, without its newline.
std::vector<std::string> read_lines(const std::filesystem::path& path);

}  // namespace r1
