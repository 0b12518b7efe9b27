// formats/gguf_writer.h: writes a GGUF file (version 3, little-endian; the layout is in formats/gguf.h).
//
// All keys, names, types and shapes come first, then the tensors' bytes in the same order, in pieces of any
// size: a file may be larger than memory. The file appears whole or not at all (base/pending_file.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/pending_file.h"
#include "formats/gguf.h"

namespace r1 {

// Keys and values in the order in which they are set. A key that is set again keeps its place and gets the
// new value.
class GgufKeys {
 public:
  GgufKeys& set(std::string_view key, std::string_view value);
  GgufKeys& set(std::string_view key, const char* value) { return set(key, std::string_view(value)); }
  GgufKeys& set(std::string_view key, bool value);
  GgufKeys& set(std::string_view key, uint32_t value);
  GgufKeys& set(std::string_view key, float value);
  GgufKeys& set_signed(std::string_view key, int32_t value);
  GgufKeys& set(std::string_view key, std::span<const std::string> values);
  GgufKeys& set(std::string_view key, std::span<const int32_t> values);
  GgufKeys& set(std::string_view key, std::span<const float> values);
  // The value of `key` of another file, of any kind, as it is there.
  GgufKeys& copy(const GgufMetadata& from, std::string_view key);
  void remove(std::string_view key);
  bool contains(std::string_view key) const;
  size_t size() const { return entries_.size(); }

 private:
  friend class GgufWriter;
  struct Entry {
    std::string key, bytes;  // bytes: kind and value, as in a file
  };
  GgufKeys& put(std::string_view key, std::string bytes);
  std::vector<Entry> entries_;
};

class GgufWriter {
 public:
  struct Declared {
    std::string name;
    GgufType type = GgufType::f32;
    std::vector<int64_t> shape;  // row-major: the last dimension is contiguous
    int64_t count() const;
    uint64_t bytes() const;  // rows are whole blocks
  };
  // Throws Error if the file cannot be created, for a name that appears twice, and for shapes that a file
  // cannot hold.
  GgufWriter(const std::filesystem::path& target, const GgufKeys& keys, std::vector<Declared> tensors);

  // Writes the next bytes of the tensor `name`, which must be the next one that is not complete.
  void write(std::string_view name, std::span<const std::byte> bytes);
  // Syncs the file and puts it in place. Everything declared must have been written.
  void close();

 private:
  std::string header(const GgufKeys& keys) const;
  void pad();

  PendingFile pending_;
  FileWriter out_;
  std::vector<Declared> tensors_;
  size_t current_ = 0;
  uint64_t done_ = 0;  // bytes of the current tensor
  uint64_t at_ = 0;    // bytes of the file so far
};

}  // namespace r1
