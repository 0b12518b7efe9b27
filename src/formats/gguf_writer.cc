#include "formats/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/error.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr uint64_t kWrittenAlignment = 32;  // what a file without general.alignment has
constexpr uint32_t kWrittenVersion = 3;
constexpr size_t kMostDimensions = 4;

template <class T>
void put_number(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_string(std::string& out, std::string_view text) {
  put_number<uint64_t>(out, text.size());
  out += text;
}

std::string of_kind(GgufKind kind) {
  std::string out;
  put_number(out, static_cast<uint32_t>(kind));
  return out;
}

std::string of_array(GgufKind element, uint64_t count) {
  std::string out = of_kind(GgufKind::array);
  put_number(out, static_cast<uint32_t>(element));
  put_number(out, count);
  return out;
}

uint64_t aligned(uint64_t bytes) {
  return (bytes + kWrittenAlignment - 1) / kWrittenAlignment * kWrittenAlignment;
}

}  // namespace

GgufKeys& GgufKeys::put(std::string_view key, std::string bytes) {
  R1_CHECK(!key.empty() && key.size() <= kMaxGgufName, key);
  const auto known = std::ranges::find(entries_, key, &Entry::key);
  if (known != entries_.end()) {
    known->bytes = std::move(bytes);
  } else {
    entries_.push_back({std::string(key), std::move(bytes)});
  }
  return *this;
}

GgufKeys& GgufKeys::set(std::string_view key, std::string_view value) {
  std::string bytes = of_kind(GgufKind::string);
  put_string(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set(std::string_view key, bool value) {
  std::string bytes = of_kind(GgufKind::boolean);
  put_number<uint8_t>(bytes, value ? 1 : 0);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set(std::string_view key, uint32_t value) {
  std::string bytes = of_kind(GgufKind::u32);
  put_number(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set(std::string_view key, float value) {
  std::string bytes = of_kind(GgufKind::f32);
  put_number(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set_signed(std::string_view key, int32_t value) {
  std::string bytes = of_kind(GgufKind::i32);
  put_number(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set(std::string_view key, std::span<const std::string> values) {
  std::string bytes = of_array(GgufKind::string, values.size());
  for (const std::string& value : values) put_string(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set(std::string_view key, std::span<const int32_t> values) {
  std::string bytes = of_array(GgufKind::i32, values.size());
  for (const int32_t value : values) put_number(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::set(std::string_view key, std::span<const float> values) {
  std::string bytes = of_array(GgufKind::f32, values.size());
  for (const float value : values) put_number(bytes, value);
  return put(key, std::move(bytes));
}

GgufKeys& GgufKeys::copy(const GgufMetadata& from, std::string_view key) {
  const std::span<const std::byte> raw = from.raw(key);
  return put(key, std::string(reinterpret_cast<const char*>(raw.data()), raw.size()));
}

void GgufKeys::remove(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
}

bool GgufKeys::contains(std::string_view key) const {
  return std::ranges::find(entries_, key, &Entry::key) != entries_.end();
}

int64_t GgufWriter::Declared::count() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

uint64_t GgufWriter::Declared::bytes() const {
  const GgufTypeRow& row = row_of(type);
  return static_cast<uint64_t>(count() / row.block * row.bytes);
}

std::string GgufWriter::header(const GgufKeys& keys) const {
  std::string out = "GGUF";
  put_number(out, kWrittenVersion);
  put_number<uint64_t>(out, tensors_.size());
  put_number<uint64_t>(out, keys.size());
  for (const GgufKeys::Entry& entry : keys.entries_) {
    put_string(out, entry.key);
    out += entry.bytes;
  }
  uint64_t offset = 0;
  for (const Declared& tensor : tensors_) {
    put_string(out, tensor.name);
    put_number(out, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) put_number(out, static_cast<uint64_t>(tensor.shape[i]));
    put_number(out, row_of(tensor.type).id);
    put_number(out, offset);
    offset += aligned(tensor.bytes());
  }
  return out;
}

GgufWriter::GgufWriter(const std::filesystem::path& target, const GgufKeys& keys,
                       std::vector<Declared> tensors)
    : pending_(target), out_(pending_.path()), tensors_(std::move(tensors)) {
  R1_CHECK(!keys.contains("general.alignment"), "the writer aligns to ", kWrittenAlignment);
  std::unordered_set<std::string_view> names;
  for (const Declared& tensor : tensors_) {
    const auto fail = [&](std::string_view reason) {
      throw Error(fmt::format("{}: tensor {} {}", target.string(), shown(tensor.name), reason));
    };
    if (tensor.name.empty() || tensor.name.size() > kMaxGgufName) fail("has no name that GGUF can hold");
    if (!names.insert(tensor.name).second) fail("appears twice");
    if (tensor.shape.size() > kMostDimensions)
      fail(fmt::format("has {} dimensions; GGUF holds at most {}", tensor.shape.size(), kMostDimensions));
    const int64_t width = tensor.shape.empty() ? 1 : tensor.shape.back();
    if (width % row_of(tensor.type).block != 0) {
      fail(fmt::format("has rows of {} elements, which are no whole number of {} blocks of {}", width,
                       name_of(tensor.type), row_of(tensor.type).block));
    }
  }
  const std::string text = header(keys);
  out_.write(text);
  at_ = text.size();
  pad();
}

void GgufWriter::pad() {
  constexpr char kZeros[kWrittenAlignment] = {};
  const uint64_t missing = aligned(at_) - at_;
  out_.write(std::string_view(kZeros, missing));
  at_ += missing;
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  while (current_ < tensors_.size() && done_ == tensors_[current_].bytes() &&
         tensors_[current_].name != name) {
    ++current_;
    done_ = 0;
  }
  R1_CHECK(current_ < tensors_.size() && tensors_[current_].name == name, name, " is not the next tensor");
  const uint64_t size = tensors_[current_].bytes();
  R1_CHECK(bytes.size() <= size - done_, name, ": ", bytes.size(), " bytes after ", done_, " of ", size);
  out_.write(bytes);
  at_ += bytes.size();
  done_ += bytes.size();
  if (done_ == size) pad();
}

void GgufWriter::close() {
  for (; current_ < tensors_.size(); ++current_, done_ = 0)
    R1_CHECK(done_ == tensors_[current_].bytes(), tensors_[current_].name, " is not complete");
  out_.close();
  pending_.commit();
}

}  // namespace r1
