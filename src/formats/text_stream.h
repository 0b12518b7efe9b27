// formats/text_stream.h: reads the text of a file from front to back and unpacks gzip files (RFC 1952) on the
// way.
//
// A plain file is mapped. A gzip file is recognised by its first two bytes, whatever its name, and only a
// window of its text is held. A pipe is read whole before any text is available.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"

namespace r1 {

class TextStream {
 public:
  // Throws Error if the file cannot be read.
  explicit TextStream(const std::filesystem::path& path);
  ~TextStream();
  TextStream(const TextStream&) = delete;
  TextStream& operator=(const TextStream&) = delete;

  // Returns the text that is held and not yet consumed. more() invalidates earlier views.
  std::string_view rest() const { return rest_; }
  void consume(size_t bytes) { rest_.remove_prefix(bytes); }
  // Extends rest(). Returns false at the end of the file. Throws Error for a gzip file that is damaged or cut
  // short, and if rest() would exceed kMostHeld.
  bool more();

  // Returns the SHA-256 of the file's bytes; a gzip file is not unpacked for it.
  std::string content_sha256() const;

  static constexpr size_t kMostHeld = size_t{256} << 20;  // bytes of a gzip file's unpacked text

 private:
  class Gunzip;

  std::string path_;
  MappedFile file_;
  std::string piped_;        // the bytes, if the file cannot be mapped
  std::string_view stored_;  // the bytes of the file
  std::unique_ptr<Gunzip> gunzip_;
  std::string window_;  // unpacked text
  std::string_view rest_;
};

}  // namespace r1
