// formats/gguf.h: the GGUF format, versions 2 and 3, little-endian
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
//
//   4 bytes   "GGUF"
//   u32       version
//   u64 u64   the number of tensors, the number of keys
//   keys      string key, u32 kind, value
//   tensors   string name, u32 rank, u64 dimensions (the contiguous one first), u32 type, u64 offset
//   padding   up to the alignment: general.alignment, 32 if it is absent
//   the rest  the tensors' bytes; offsets count from its first byte and are multiples of the alignment
//
// A string is a u64 length and its bytes. An array is a u32 kind, a u64 length and its elements.
//
// A header is checked whole before anything of it is used: every tensor lies inside the file, no two overlap,
// no key and no name appears twice. The memory that reading takes is bounded by the header's size, whatever
// its counts say. A model of several files is in formats/gguf_file.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/json.h"

namespace r1 {

// Element types of tensors, by llama.cpp's names. formats/gguf_blocks.h computes with most of them.
enum class GgufType : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q8_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  q8_k,
  iq1_s,
  iq1_m,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  iq4_nl,
  iq4_xs,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4
};
inline constexpr size_t kGgufTypes = static_cast<size_t>(GgufType::nvfp4) + 1;

struct GgufTypeRow {
  GgufType type;
  std::string_view name;  // "Q4_K"
  uint32_t id;            // in a file
  int64_t block;          // elements in a block
  int64_t bytes;          // of a block
};
const GgufTypeRow& row_of(GgufType type);
std::string_view name_of(GgufType type);
std::optional<GgufType> gguf_type_of(uint32_t id);

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::f32;
  std::vector<int64_t> shape;  // row-major: the last dimension is contiguous; [] is one number
  uint64_t begin = 0;          // bytes, from the start of the file
  uint64_t end = 0;
  uint32_t file = 0;      // which file of a split model
  int64_t count() const;  // elements
};

// Kinds of metadata values, numbered as in a file.
enum class GgufKind : uint8_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// The keys and values of a header. Values stay in the header's bytes and are decoded when they are asked for.
// Every accessor throws Error "SOURCE: KEY ..." for a missing key (except the _or forms) or another kind.
class GgufMetadata {
 public:
  GgufMetadata() = default;
  const std::string& source() const { return source_; }  // the file's name
  std::vector<std::string_view> keys() const;            // in the file's order
  bool contains(std::string_view key) const { return by_key_.contains(key); }

  std::string_view get_string(std::string_view key) const;
  bool get_bool(std::string_view key) const;
  int64_t get_int(std::string_view key) const;    // any kind of integer, if it fits
  double get_number(std::string_view key) const;  // any kind of number
  std::string_view get_string_or(std::string_view key, std::string_view fallback) const;
  bool get_bool_or(std::string_view key, bool fallback) const;
  int64_t get_int_or(std::string_view key, int64_t fallback) const;
  double get_number_or(std::string_view key, double fallback) const;

  bool is_array(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;  // an array of strings
  std::vector<int64_t> integers(std::string_view key) const;          // of any kind of integer
  std::vector<double> numbers(std::string_view key) const;            // of any kind of number

  // The value as JSON, arrays of arrays included. Bytes that are no UTF-8 become U+FFFD in a dump.
  Json json(std::string_view key) const;
  // The kind and the value as they are in the file, for a copy (formats/gguf_writer.h).
  std::span<const std::byte> raw(std::string_view key) const;
  // Throws Error "SOURCE: KEY REASON".
  [[noreturn]] void fail(std::string_view key, std::string_view reason) const;

 private:
  friend class GgufParser;
  struct Value {
    GgufKind kind = GgufKind::u8;
    GgufKind element = GgufKind::u8;  // of an array
    uint64_t count = 1;
    size_t begin = 0;  // of the value, in the header's bytes; of an array: of its first element
    size_t end = 0;    // of the value
  };
  const Value& at(std::string_view key) const;
  const Value& array_at(std::string_view key) const;
  std::string_view string_at(size_t& at) const;
  int64_t integer_at(std::string_view key, GgufKind kind, size_t& at) const;
  double number_at(std::string_view key, GgufKind kind, size_t& at) const;
  Json json_at(std::string_view key, GgufKind kind, size_t& at) const;

  std::string source_;
  std::shared_ptr<const std::vector<std::byte>> bytes_;
  std::vector<std::pair<std::string_view, Value>> entries_;  // keys are views of bytes_
  std::unordered_map<std::string_view, size_t> by_key_;
};

struct GgufHeader {
  uint32_t version = 0;
  uint64_t alignment = 0;
  uint64_t data_begin = 0;  // bytes from the start of the file
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the file's order
};

// Reads a part of a file: the bytes from an offset.
using GgufRead = std::function<void(uint64_t offset, std::span<std::byte> out)>;

// Parses the header of a file of `size` bytes. Throws Error "SOURCE: ..." if it breaks a rule.
GgufHeader parse_gguf_header(const GgufRead& read, uint64_t size, const std::string& source);
// The same for a whole file in memory.
GgufHeader parse_gguf_header(std::span<const std::byte> file, const std::string& source);

// Limits against hostile files. DeepSeek-R1 has about 50 keys, 1,100 tensors and a header of 6 MB.
inline constexpr uint64_t kMaxGgufHeader = uint64_t{1} << 30;  // bytes
inline constexpr uint64_t kMaxGgufKeys = uint64_t{1} << 16;
inline constexpr uint64_t kMaxGgufTensors = uint64_t{1} << 20;
inline constexpr uint64_t kMaxGgufName = 65535;  // bytes of a key or of a tensor's name
inline constexpr int kMaxGgufNesting = 8;        // arrays of arrays

}  // namespace r1
