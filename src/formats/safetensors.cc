#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/file_reader.h"
#include "base/text_util.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "tensor/dtype.h"

namespace r1 {

namespace {

constexpr std::string_view kMetadata = "__metadata__";

struct TypeRow {
  StoredType type;
  std::string_view name;
  int64_t bits;
};
constexpr TypeRow kTypes[] = {
    {StoredType::boolean, "BOOL", 8},
    {StoredType::u8, "U8", 8},
    {StoredType::i8, "I8", 8},
    {StoredType::f8_e5m2, "F8_E5M2", 8},
    {StoredType::f8_e4m3, "F8_E4M3", 8},
    {StoredType::i16, "I16", 16},
    {StoredType::u16, "U16", 16},
    {StoredType::f16, "F16", 16},
    {StoredType::bf16, "BF16", 16},
    {StoredType::i32, "I32", 32},
    {StoredType::u32, "U32", 32},
    {StoredType::f32, "F32", 32},
    {StoredType::f64, "F64", 64},
    {StoredType::i64, "I64", 64},
    {StoredType::u64, "U64", 64},
    {StoredType::c64, "C64", 64},
    {StoredType::f8_e8m0, "F8_E8M0", 8},
    {StoredType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    {StoredType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    {StoredType::f6_e2m3, "F6_E2M3", 6},
    {StoredType::f6_e3m2, "F6_E3M2", 6},
    {StoredType::f4, "F4", 4},
};

constexpr bool rows_match_the_enum() {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (kTypes[i].type != static_cast<StoredType>(i)) return false;
  }
  return std::size(kTypes) == static_cast<size_t>(StoredType::f4) + 1;
}
static_assert(rows_match_the_enum());

const TypeRow& row_of(StoredType type) {
  return kTypes[static_cast<size_t>(type)];
}

std::optional<StoredType> type_from_name(std::string_view name) {
  for (const TypeRow& row : kTypes) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

// Returns the product of the shape times the element size, or nothing if it does not fit in 60 bits or is not
// a whole number of bytes.
std::optional<uint64_t> bytes_of(std::span<const int64_t> shape, StoredType type) {
  // A zero makes the product 0 whatever the other dimensions are.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  auto bits = static_cast<uint64_t>(bits_of(type));
  for (const int64_t dim : shape) {
    if (bits > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / static_cast<uint64_t>(dim))
      return std::nullopt;
    bits *= static_cast<uint64_t>(dim);
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

uint64_t little_endian_u64(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | static_cast<uint64_t>(bytes[i]);
  return value;
}

[[noreturn]] void refuse(const std::string& source, std::string_view tensor, std::string_view reason) {
  throw Error(fmt::format("{}: tensor {} {}", source, shown(tensor), reason));
}

TensorInfo parse_entry(const Json::Member& entry, uint64_t data_size, const std::string& source) {
  const auto& [name, fields] = entry;
  TensorInfo info;
  info.name = name;
  const std::string& type_name = fields.get_string("dtype");
  const std::optional<StoredType> type = type_from_name(type_name);
  if (!type) refuse(source, name, fmt::format("has dtype {}, which is not known", shown(type_name)));
  info.type = *type;
  for (const Json& dim : fields.at("shape").items()) {
    info.shape.push_back(dim.integer());
    if (info.shape.back() < 0)
      refuse(source, name, fmt::format("has a negative dimension ({})", info.shape.back()));
  }
  const std::optional<uint64_t> bytes = bytes_of(info.shape, info.type);
  if (!bytes) {
    refuse(source, name,
           fmt::format("has shape {} of {}, which is no whole number of bytes below 2^60",
                       shown(shape_string(info.shape)), type_name));
  }
  const std::vector<Json>& offsets = fields.at("data_offsets").items();
  if (offsets.size() != 2)
    refuse(source, name, fmt::format("has {} data_offsets; it must have 2", offsets.size()));
  const int64_t begin = offsets[0].integer();
  const int64_t end = offsets[1].integer();
  if (begin < 0 || end < begin)
    refuse(source, name, fmt::format("has data_offsets [{}, {}], which are not a range", begin, end));
  info.begin = static_cast<uint64_t>(begin);
  info.end = static_cast<uint64_t>(end);
  if (info.end > data_size) {
    refuse(source, name,
           fmt::format("ends at byte {} of the data, the file has {}: it is truncated or damaged", end,
                       data_size));
  }
  if (info.end - info.begin != *bytes) {
    refuse(source, name,
           fmt::format("takes {} bytes, {} of shape {} are {}", info.end - info.begin, type_name,
                       shown(shape_string(info.shape)), *bytes));
  }
  return info;
}

// Sorts by place in the data and refuses overlaps and holes.
void check_layout(std::vector<TensorInfo>& tensors, uint64_t data_size, const std::string& source) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t at = 0;
  const TensorInfo* before = nullptr;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin < at)
      refuse(source, tensor.name, fmt::format("overlaps tensor {}", shown(before->name)));
    if (tensor.begin > at) {
      refuse(source, tensor.name,
             fmt::format("begins at byte {} of the data: bytes {} to {} belong to no tensor", tensor.begin,
                         at, tensor.begin));
    }
    at = tensor.end;
    before = &tensor;
  }
  if (at != data_size) {
    throw Error(fmt::format("{}: the last {} bytes belong to no tensor", source, data_size - at));
  }
}

// The format of numbers that can be read here.
std::optional<Format> number_format(StoredType type) {
  switch (type) {
    case StoredType::f64:
      return Format::f64;
    case StoredType::f32:
      return Format::f32;
    case StoredType::bf16:
      return Format::bf16;
    case StoredType::f16:
      return Format::f16;
    default:
      return std::nullopt;
  }
}

class FileBytes final : public StoredBytes {
 public:
  explicit FileBytes(const std::filesystem::path& path) : file_(path) {}
  const std::string& path() const override { return file_.path(); }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view tensor) const override {
    file_.read(begin, to, tensor.empty() ? "" : fmt::format("tensor {}", shown(tensor)));
  }
  uint64_t size() const { return file_.size(); }

 private:
  FileReader file_;
};

SafetensorsHeader read_header(const FileBytes& file) {
  std::vector<std::byte> head(std::min<uint64_t>(8, file.size()));
  file.read(0, head, "");
  if (head.size() == 8) {
    const uint64_t length = little_endian_u64(head);
    if (length <= kMaxSafetensorsHeader && length <= file.size() - 8) {
      head.resize(8 + length);
      file.read(8, std::span(head).subspan(8), "");
    }
  }
  return parse_safetensors_header(head, file.size(), file.path());
}

}  // namespace

int64_t bits_of(StoredType type) {
  return row_of(type).bits;
}
std::string_view name_of(StoredType type) {
  return row_of(type).name;
}

int64_t TensorInfo::count() const {
  return static_cast<int64_t>(end - begin) * 8 / bits_of(type);
}

std::string shape_string(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> head, uint64_t file_size,
                                           const std::string& source) {
  if (file_size < 8) {
    throw Error(
        fmt::format("{}: is {} bytes, a safetensors file has at least 8: it is truncated or something else",
                    source, file_size));
  }
  const uint64_t length = little_endian_u64(head.first(8));
  if (length > kMaxSafetensorsHeader) {
    throw Error(fmt::format(
        "{}: the header's length is {} bytes, at most {} are allowed: this is not a safetensors file", source,
        length, kMaxSafetensorsHeader));
  }
  if (length > file_size - 8) {
    throw Error(
        fmt::format("{}: the header is {} bytes long, the file has {} after its length: it is truncated",
                    source, length, file_size - 8));
  }
  R1_CHECK(head.size() >= 8 + length, source, ": ", head.size(), " bytes of a header of ", length);
  const std::string_view text(reinterpret_cast<const char*>(head.data()) + 8, length);
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || text[start] != '{') {
    throw Error(
        fmt::format("{}: the header does not start with '{{': this is not a safetensors file", source));
  }
  const Json json = parse_json(text, fmt::format("{}: header", source));
  SafetensorsHeader header;
  header.data_begin = 8 + length;
  const uint64_t data_size = file_size - header.data_begin;
  for (const Json::Member& entry : json.members()) {
    if (entry.first == kMetadata) {
      if (entry.second.is_null()) continue;
      for (const auto& [key, value] : entry.second.members()) header.metadata[key] = value.string();
    } else {
      header.tensors.push_back(parse_entry(entry, data_size, source));
    }
  }
  check_layout(header.tensors, data_size, source);
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path.string()) {
  const auto file = std::make_shared<FileBytes>(path);
  header_ = read_header(*file);
  file_ = file;
  for (size_t i = 0; i < header_.tensors.size(); ++i) by_name_.emplace(header_.tensors[i].name, i);
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &header_.tensors[at->second];
}

std::vector<std::byte> SafetensorsFile::bytes(const TensorInfo& tensor) const {
  std::vector<std::byte> out(tensor.end - tensor.begin);
  read_bytes(tensor, 0, out);
  return out;
}

void SafetensorsFile::read_bytes(const TensorInfo& tensor, uint64_t begin, std::span<std::byte> to) const {
  R1_CHECK(begin + to.size() <= tensor.end - tensor.begin, tensor.name, ": bytes ", begin, ", ", to.size());
  file_->read(header_.data_begin + tensor.begin + begin, to, tensor.name);
}

Stored SafetensorsFile::stored(const TensorInfo& tensor) const {
  const std::optional<Format> format = number_format(tensor.type);
  if (!format) {
    refuse(path_, tensor.name,
           fmt::format(
               "is {}; only F32, BF16, F16 and F64 are read as numbers, and F8_E4M3 with scales: convert the "
               "checkpoint first",
               name_of(tensor.type)));
  }
  return {.name = shown(tensor.name),
          .format = *format,
          .shape = tensor.shape.size() <= 4 ? Shape(tensor.shape) : Shape{tensor.count()},
          .begin = header_.data_begin + tensor.begin,
          .owner = file_,
          .scales = nullptr};
}

Stored SafetensorsFile::stored_codes(const TensorInfo& tensor) const {
  R1_CHECK(tensor.type == StoredType::f8_e4m3 && tensor.shape.size() == 2, tensor.name);
  return {.name = shown(tensor.name),
          .format = Format::f8_e4m3,
          .shape = Shape(tensor.shape),
          .begin = header_.data_begin + tensor.begin,
          .owner = file_,
          .scales = nullptr};
}

void read_as_f32(const SafetensorsFile& file, const TensorInfo& tensor, std::span<float> out) {
  R1_CHECK(out.size() == static_cast<size_t>(tensor.count()), tensor.name, ": room for ", out.size(),
           ", has ", tensor.count());
  file.stored(tensor).read(0, out);
}

namespace {

std::string header_text(std::span<const SafetensorsWriter::Declared> tensors, std::span<const uint64_t> sizes,
                        const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json fields = Json::object();
    for (const auto& [key, value] : metadata) fields.set(key, value);
    header.set(kMetadata, std::move(fields));
  }
  std::string text = header.dump();
  text.pop_back();  // tensors are appended as text: Json::set would search all earlier names for each
  uint64_t at = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Json offsets = Json::array();
    offsets.push_back(at).push_back(at + sizes[i]);
    Json entry = Json::object();
    entry.set("dtype", name_of(tensors[i].type)).set("shape", Json::array_of(tensors[i].shape));
    entry.set("data_offsets", std::move(offsets));
    text += text.size() > 1 ? "," : "";
    text += fmt::format("{}:{}", Json(tensors[i].name).dump(), entry.dump());
    at += sizes[i];
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Declared> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path.string()), out_(path), tensors_(std::move(tensors)) {
  std::unordered_map<std::string_view, size_t> seen;
  uint64_t total = 0;
  for (const Declared& tensor : tensors_) {
    if (tensor.name == kMetadata) refuse(path_, tensor.name, "has a reserved name");
    if (!seen.emplace(tensor.name, 0).second) refuse(path_, tensor.name, "is declared twice");
    const bool negative =
        std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t dim) { return dim < 0; });
    const std::optional<uint64_t> bytes = negative ? std::nullopt : bytes_of(tensor.shape, tensor.type);
    if (!bytes || *bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - total) {
      refuse(path_, tensor.name,
             fmt::format("has shape {}, which cannot be written", shape_string(tensor.shape)));
    }
    total += *bytes;
    sizes_.push_back(*bytes);
  }
  const std::string header = header_text(tensors_, sizes_, metadata);
  if (header.size() > kMaxSafetensorsHeader) {
    throw Error(fmt::format("{}: the header would be {} bytes, at most {} are allowed", path_, header.size(),
                            kMaxSafetensorsHeader));
  }
  char length[8];
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  out_.write(std::string_view(length, 8));
  out_.write(header);
  finish_empty();
}

void SafetensorsWriter::finish_empty() {
  while (current_ < tensors_.size() && done_ == sizes_[current_]) {
    ++current_;
    done_ = 0;
  }
}

void SafetensorsWriter::begin(std::string_view name, uint64_t bytes) {
  if (bytes == 0) return;  // a tensor without elements is complete from the start
  R1_CHECK(current_ < tensors_.size(), path_, ": all tensors are written, then came ", name);
  R1_CHECK(tensors_[current_].name == name, path_, ": ", tensors_[current_].name, " is next, not ", name);
  R1_CHECK(bytes <= sizes_[current_] - done_, path_, ": ", name, " has ", sizes_[current_] - done_,
           " bytes to come, not ", bytes);
}

void SafetensorsWriter::write_bytes(std::string_view name, std::span<const std::byte> bytes) {
  begin(name, bytes.size());
  constexpr size_t kPiece = size_t{1} << 20;  // FileWriter buffers what it is given
  for (size_t at = 0; at < bytes.size(); at += kPiece)
    out_.write(bytes.subspan(at, std::min(kPiece, bytes.size() - at)));
  done_ += bytes.size();
  finish_empty();
}

void SafetensorsWriter::write(std::string_view name, std::span<const float> values) {
  if (values.empty()) return;
  R1_CHECK(current_ < tensors_.size(), path_, ": all tensors are written, then came ", name);
  const StoredType type = tensors_[current_].type;
  if (type == StoredType::f32) return write_bytes(name, std::as_bytes(values));
  R1_CHECK(type == StoredType::bf16 || type == StoredType::f16, path_, ": ", name, " is declared as ",
           name_of(type));
  begin(name, values.size() * 2);
  const bool bf16 = type == StoredType::bf16;
  const uint32_t infinity = bf16 ? 0x7F80 : 0x7C00;
  std::vector<uint16_t> piece;
  const size_t first = done_ / 2;
  for (size_t at = 0; at < values.size();) {
    const size_t n = std::min<size_t>(values.size() - at, size_t{1} << 18);
    piece.resize(n);
    for (size_t i = 0; i < n; ++i) {
      const float value = values[at + i];
      piece[i] = bf16 ? bf16_from_f32(value) : f16_from_f32(value);
      if ((piece[i] & 0x7FFFu) == infinity && value - value == 0) {
        refuse(path_, name,
               fmt::format("has {} at index {}, too large for {}: write it as F32", value, first + at + i,
                           name_of(type)));
      }
    }
    out_.write(std::as_bytes(std::span<const uint16_t>(piece)));
    done_ += n * 2;
    at += n;
  }
  finish_empty();
}

void SafetensorsWriter::close() {
  R1_CHECK(current_ == tensors_.size(), path_, ": ",
           current_ < tensors_.size() ? tensors_[current_].name : "", " is not complete");
  out_.close();
}

}  // namespace r1
