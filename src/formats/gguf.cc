// Parses a GGUF header. The values of its keys are decoded in gguf_metadata.cc.
#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "base/error.h"
#include "formats/safetensors.h"
#include "formats/shown.h"

namespace r1 {

static_assert(std::endian::native == std::endian::little, "a GGUF file's numbers are read as they lie");

namespace {

// The least bytes of a key with its value, and of a tensor's entry.
constexpr uint64_t kLeastKey = 8 + 4 + 1;
constexpr uint64_t kLeastTensor = 8 + 4 + 4 + 8;
constexpr uint32_t kMaxRank = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;

// Bytes of a value of a fixed size; 0 for strings and arrays.
constexpr uint64_t kKindBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

constexpr std::string_view kGgufDamaged = "the file is truncated or damaged";

}  // namespace

class GgufParser {
 public:
  GgufParser(const GgufRead& read, uint64_t size, const std::string& source)
      : read_(read), size_(size), source_(source) {}

  GgufHeader parse();

 private:
  struct Text {  // a string's place
    size_t begin = 0;
    size_t size = 0;
  };
  struct Entry {
    Text key;
    GgufMetadata::Value value;
  };

  [[noreturn]] void refuse(std::string_view reason) const {
    throw Error(fmt::format("{}: {}", source_, reason));
  }
  // Makes sure that the next `bytes` bytes are in memory.
  void need(uint64_t bytes);
  void skip(uint64_t bytes) {
    need(bytes);
    at_ += bytes;
  }
  template <class T>
  T take() {
    need(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  Text take_text(uint64_t most, std::string_view what);
  std::string_view view(const Text& text) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + text.begin, text.size};
  }

  void read_magic();
  void read_counts();
  GgufKind take_kind();
  void read_values();
  void skip_value(GgufKind kind, int depth);
  void skip_array(GgufMetadata::Value* value, int depth);
  void read_tensors();
  GgufTensor read_tensor();
  void read_shape(GgufTensor& tensor);
  void keep_metadata();
  uint64_t alignment() const;
  void place_tensors();
  void refuse_overlaps() const;
  [[noreturn]] void refuse(const GgufTensor& tensor, std::string_view reason) const {
    refuse(fmt::format("tensor {} {}", shown(tensor.name), reason));
  }

  const GgufRead& read_;
  uint64_t size_;
  const std::string& source_;
  std::vector<std::byte> bytes_;  // of the header, as far as it has been read
  size_t at_ = 0;
  std::string where_ = "the header";  // what is being read
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
  std::vector<Entry> entries_;
  GgufHeader header_;
};

void GgufParser::need(uint64_t bytes) {
  if (bytes > size_ - at_) refuse(fmt::format("ends at byte {}, within {}: {}", size_, where_, kGgufDamaged));
  const uint64_t end = at_ + bytes;
  if (end > kMaxGgufHeader) {
    refuse(fmt::format("has more than {} MiB before its tensors, up to {}: at most that is accepted",
                       kMaxGgufHeader >> 20, where_));
  }
  if (end <= bytes_.size()) return;
  constexpr uint64_t kFirst = uint64_t{1} << 20;
  const size_t had = bytes_.size();
  bytes_.resize(std::min(size_, std::max({end, kFirst, uint64_t{2} * had})));
  read_(had, std::span(bytes_).subspan(had));
}

GgufParser::Text GgufParser::take_text(uint64_t most, std::string_view what) {
  const uint64_t size = take<uint64_t>();
  if (size > most)
    refuse(fmt::format("{} has {} of {} bytes; at most {} are accepted", where_, what, size, most));
  const Text text{at_, static_cast<size_t>(size)};
  skip(size);
  return text;
}

void GgufParser::read_magic() {
  constexpr size_t kMagic = 4;
  if (size_ < kMagic) refuse(fmt::format("has {} bytes: it is no GGUF file", size_));
  need(kMagic);
  if (std::memcmp(bytes_.data(), "GGUF", kMagic) != 0) {
    const auto byte = [&](size_t i) { return static_cast<unsigned>(bytes_[i]); };
    refuse(fmt::format(
        "begins with the bytes {:02X} {:02X} {:02X} {:02X}; a GGUF file begins with 47 47 55 46 (GGUF)",
        byte(0), byte(1), byte(2), byte(3)));
  }
  at_ = kMagic;
  header_.version = take<uint32_t>();
  if (header_.version == 2 || header_.version == 3) return;
  if ((header_.version & 0xFFFF) == 0 && header_.version != 0)
    refuse(
        "is a big-endian GGUF file; only little-endian ones are read: convert it (gguf_convert_endian.py)");
  refuse(fmt::format("has GGUF version {}; versions 2 and 3 are read", header_.version));
}

void GgufParser::read_counts() {
  tensor_count_ = take<uint64_t>();
  key_count_ = take<uint64_t>();
  const auto check = [&](uint64_t count, std::string_view what, uint64_t most, uint64_t least_bytes) {
    if (count > most)
      refuse(fmt::format("says that it has {} {}; at most {} are accepted", count, what, most));
    if (count > (size_ - at_) / least_bytes) {
      refuse(fmt::format("says that it has {} {}, more than its {} bytes can hold: {}", count, what, size_,
                         kGgufDamaged));
    }
  };
  check(tensor_count_, "tensors", kMaxGgufTensors, kLeastTensor);
  check(key_count_, "keys", kMaxGgufKeys, kLeastKey);
}

GgufKind GgufParser::take_kind() {
  const uint32_t kind = take<uint32_t>();
  if (kind > static_cast<uint32_t>(GgufKind::f64))
    refuse(fmt::format("{} has kind {}; kinds 0 to 12 are known", where_, kind));
  return static_cast<GgufKind>(kind);
}

void GgufParser::skip_array(GgufMetadata::Value* value, int depth) {
  if (depth > kMaxGgufNesting)
    refuse(fmt::format("{} has arrays nested deeper than {}", where_, kMaxGgufNesting));
  const GgufKind element = take_kind();
  const uint64_t count = take<uint64_t>();
  if (value != nullptr) {
    value->element = element;
    value->count = count;
    value->begin = at_;
  }
  const uint64_t fixed = kKindBytes[static_cast<size_t>(element)];
  const uint64_t least = fixed != 0 ? fixed : element == GgufKind::string ? 8 : 12;
  if (count > (size_ - at_) / least) {
    refuse(fmt::format("{} is an array of {} elements, more than the file's {} bytes can hold: {}", where_,
                       count, size_, kGgufDamaged));
  }
  if (fixed != 0 && element != GgufKind::boolean) {
    skip(fixed * count);
  } else {
    for (uint64_t i = 0; i < count; ++i) skip_value(element, depth + 1);
  }
}

void GgufParser::skip_value(GgufKind kind, int depth) {
  if (kind == GgufKind::string) {
    take_text(kMaxGgufHeader, "a string");
  } else if (kind == GgufKind::array) {
    skip_array(nullptr, depth);
  } else if (kind == GgufKind::boolean) {
    if (const unsigned byte = take<uint8_t>(); byte > 1)
      refuse(fmt::format("{} has a boolean of {}; it must be 0 or 1", where_, byte));
  } else {
    skip(kKindBytes[static_cast<size_t>(kind)]);
  }
}

void GgufParser::read_values() {
  entries_.reserve(key_count_);
  for (uint64_t i = 0; i < key_count_; ++i) {
    where_ = fmt::format("key {} of {}", i + 1, key_count_);
    Entry entry;
    entry.key = take_text(kMaxGgufName, "a name");
    if (entry.key.size == 0) refuse(fmt::format("{} has no name", where_));
    where_ = "key " + shown(view(entry.key));
    entry.value.kind = take_kind();
    entry.value.begin = at_;
    if (entry.value.kind == GgufKind::array) {
      skip_array(&entry.value, 1);
    } else {
      skip_value(entry.value.kind, 1);
    }
    entry.value.end = at_;
    entries_.push_back(entry);
  }
}

void GgufParser::read_shape(GgufTensor& tensor) {
  const uint32_t rank = take<uint32_t>();
  if (rank > kMaxRank)
    refuse(tensor, fmt::format("has {} dimensions; at most {} are accepted", rank, kMaxRank));
  constexpr uint64_t kMost = uint64_t{1}
                             << 60;  // elements: products with a block's bytes stay within 64 bits
  uint64_t count = 1;
  bool empty = false;
  for (uint32_t i = 0; i < rank; ++i) {
    const uint64_t dim = take<uint64_t>();
    if (dim > kMost || (dim != 0 && count > kMost / dim))
      refuse(tensor, "has dimensions whose product is above 2^60: the file is damaged");
    if (dim == 0) empty = true;
    if (dim != 0) count *= dim;
    tensor.shape.push_back(static_cast<int64_t>(dim));
  }
  std::ranges::reverse(tensor.shape);
  const uint32_t id = take<uint32_t>();
  const std::optional<GgufType> type = gguf_type_of(id);
  if (!type) refuse(tensor, fmt::format("has type {}, which is not known", id));
  tensor.type = *type;
  const GgufTypeRow& row = row_of(*type);
  const int64_t width = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (width % row.block != 0) {
    refuse(tensor, fmt::format("has rows of {} elements, which are no whole number of {} blocks of {}", width,
                               row.name, row.block));
  }
  // Rows are whole blocks, so the count is a whole number of blocks as well.
  const uint64_t blocks = empty ? 0 : count / static_cast<uint64_t>(row.block);
  if (blocks > std::numeric_limits<int64_t>::max() / static_cast<uint64_t>(row.bytes))
    refuse(tensor, "has more than 2^63 bytes: the file is damaged");
  tensor.end = blocks * static_cast<uint64_t>(row.bytes);  // the size, until the offset is known
}

GgufTensor GgufParser::read_tensor() {
  GgufTensor tensor;
  tensor.name = view(take_text(kMaxGgufName, "a name"));
  where_ = "tensor " + shown(tensor.name);
  if (tensor.name.empty()) refuse(fmt::format("{} has no name", where_));
  read_shape(tensor);
  tensor.begin = take<uint64_t>();
  return tensor;
}

void GgufParser::read_tensors() {
  std::unordered_set<std::string> names;
  header_.tensors.reserve(tensor_count_);
  for (uint64_t i = 0; i < tensor_count_; ++i) {
    where_ = fmt::format("tensor {} of {}", i + 1, tensor_count_);
    header_.tensors.push_back(read_tensor());
    if (const GgufTensor& last = header_.tensors.back(); !names.insert(last.name).second)
      refuse(last, "appears twice");
  }
}

void GgufParser::keep_metadata() {
  GgufMetadata& out = header_.metadata;
  bytes_.resize(at_);
  bytes_.shrink_to_fit();
  out.source_ = source_;
  out.bytes_ = std::make_shared<const std::vector<std::byte>>(std::move(bytes_));
  bytes_ = {};
  const auto* const text = reinterpret_cast<const char*>(out.bytes_->data());
  out.entries_.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    const std::string_view key(text + entry.key.begin, entry.key.size);
    if (!out.by_key_.emplace(key, out.entries_.size()).second)
      refuse(fmt::format("key {} appears twice", shown(key)));
    out.entries_.emplace_back(key, entry.value);
  }
}

uint64_t GgufParser::alignment() const {
  constexpr std::string_view kKey = "general.alignment";
  const GgufMetadata& metadata = header_.metadata;
  const int64_t value = metadata.get_int_or(kKey, kDefaultAlignment);
  if (value < 1 || value > static_cast<int64_t>(kMaxAlignment) ||
      !std::has_single_bit(static_cast<uint64_t>(value)))
    metadata.fail(kKey, fmt::format("is {}; it must be a power of two, at most {}", value, kMaxAlignment));
  return static_cast<uint64_t>(value);
}

void GgufParser::place_tensors() {
  header_.alignment = alignment();
  header_.data_begin = (at_ + header_.alignment - 1) / header_.alignment * header_.alignment;
  const uint64_t data = size_ > header_.data_begin ? size_ - header_.data_begin : 0;
  for (GgufTensor& tensor : header_.tensors) {
    const uint64_t offset = tensor.begin, bytes = tensor.end;
    if (offset % header_.alignment != 0)
      refuse(tensor, fmt::format("begins at byte {} of the data, no multiple of the alignment, {}", offset,
                                 header_.alignment));
    if (offset > data || bytes > data - offset) {
      refuse(tensor, fmt::format("takes {} bytes from byte {} of the data, and the file has {}: {}", bytes,
                                 offset, data, kGgufDamaged));
    }
    tensor.begin = header_.data_begin + offset;
    tensor.end = tensor.begin + bytes;
  }
}

void GgufParser::refuse_overlaps() const {
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& tensor : header_.tensors) {
    if (tensor.begin < tensor.end) order.push_back(&tensor);
  }
  std::ranges::sort(order, {}, [](const GgufTensor* tensor) { return tensor->begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->begin < order[i - 1]->end)
      refuse(*order[i], fmt::format("overlaps tensor {}", shown(order[i - 1]->name)));
  }
}

GgufHeader GgufParser::parse() {
  read_magic();
  read_counts();
  read_values();
  read_tensors();
  keep_metadata();
  place_tensors();
  refuse_overlaps();
  return std::move(header_);
}

GgufHeader parse_gguf_header(const GgufRead& read, uint64_t size, const std::string& source) {
  return GgufParser(read, size, source).parse();
}

GgufHeader parse_gguf_header(std::span<const std::byte> file, const std::string& source) {
  const auto read = [&](uint64_t offset, std::span<std::byte> out) {
    if (!out.empty()) std::memcpy(out.data(), file.data() + offset, out.size());
  };
  return parse_gguf_header(read, file.size(), source);
}

}  // namespace r1
