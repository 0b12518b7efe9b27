// formats/safetensors.h: the safetensors format (https://github.com/huggingface/safetensors, "Format").
//
//   8 bytes    N, the header's length, little-endian
//   N bytes    JSON {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
//                    "__metadata__": {string: string}}, which may begin and end in white space
//   the rest   the tensors' bytes, row-major, little-endian; offsets count from its first byte
//
// Everything that the reference implementation (0.8) reads is read, such as null metadata, further fields of
// a tensor and types that no model here uses, with one exception: a name that appears twice is refused. A
// file is checked whole before anything of it is used: every byte after the header belongs to exactly one
// tensor. Files may be larger than memory: tensors are read when they are asked for, writing streams. Nothing
// is mapped, so a file that is cut while it is in use is an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "tensor/stored.h"

namespace r1 {

// The element types of a file; f6 and f4 are packed. Only f64, f32, bf16 and f16 are read as numbers here,
// and f8_e4m3 with scales (formats/fp8_scales.h).
enum class StoredType : uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64,
  c64,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4
};

int64_t bits_of(StoredType type);
std::string_view name_of(StoredType type);  // as in the file: "BF16"

struct TensorInfo {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;  // any rank; [] is one number
  uint64_t begin = 0;          // bytes, from the start of the data
  uint64_t end = 0;
  int64_t count() const;  // elements
};

std::string shape_string(std::span<const int64_t> shape);  // "[8, 64]"

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // bytes from the start of the file
};

// `head` is the file's beginning with all of the header, `file_size` the size of all of it. Throws Error
// "SOURCE: tensor NAME ..." if it breaks a rule.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> head, uint64_t file_size,
                                           const std::string& source);

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // the limit of the reference implementation

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::string& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const TensorInfo* find(std::string_view name) const;           // nullptr: there is none
  std::vector<std::byte> bytes(const TensorInfo& tensor) const;  // reads them
  // Bytes from `begin` on of a tensor, into `to`. Throws Error if the file was cut since it was opened.
  void read_bytes(const TensorInfo& tensor, uint64_t begin, std::span<std::byte> to) const;
  // Returns where a tensor's numbers are, which keeps the file open. The shape of a tensor with more than
  // four dimensions is flat.
  // Throws Error for types that are not floating-point numbers of 16 bits or more.
  Stored stored(const TensorInfo& tensor) const;
  // Returns where a matrix of FP8 codes is stored. The caller adds its scales.
  Stored stored_codes(const TensorInfo& tensor) const;

 private:
  std::string path_;
  std::shared_ptr<const StoredBytes> file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> by_name_;  // into header_.tensors, whose names do not move
};

// out[i] = element i; f64 rounds to nearest, the others are exact (NaN payloads of bf16 and f32 included).
// `out` has count() elements. Throws Error for types that are not floating-point numbers of 16 bits or more.
void read_as_f32(const SafetensorsFile& file, const TensorInfo& tensor, std::span<float> out);

// Streams a file: all names, types and shapes first, then the data in the same order, in pieces of any size.
class SafetensorsWriter {
 public:
  struct Declared {
    std::string name;
    StoredType type = StoredType::f32;
    std::vector<int64_t> shape;
  };
  // Throws Error for duplicate or reserved names and shapes that overflow.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Declared> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  // Writes the next values of the tensor `name` (f32, bf16 or f16; f32 rounds to nearest even), which must be
  // the next one that is not complete. Throws Error if a finite value becomes infinite in the narrower type.
  void write(std::string_view name, std::span<const float> values);
  // The same for a tensor of any type, already in its stored form.
  void write_bytes(std::string_view name, std::span<const std::byte> bytes);
  // Syncs the file. Everything declared must have been written.
  void close();

 private:
  void begin(std::string_view name, uint64_t bytes);
  void finish_empty();

  std::string path_;
  FileWriter out_;
  std::vector<Declared> tensors_;
  std::vector<uint64_t> sizes_;
  size_t current_ = 0;
  uint64_t done_ = 0;  // bytes of the current tensor
};

}  // namespace r1
