// Decodes the values of a GGUF header's keys, and knows its types.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/shown.h"

namespace r1 {
namespace {

// clang-format off
constexpr GgufTypeRow kRows[] = {
    {GgufType::f32, "F32", 0, 1, 4},
    {GgufType::f16, "F16", 1, 1, 2},
    {GgufType::bf16, "BF16", 30, 1, 2},
    {GgufType::f64, "F64", 28, 1, 8},
    {GgufType::i8, "I8", 24, 1, 1},
    {GgufType::i16, "I16", 25, 1, 2},
    {GgufType::i32, "I32", 26, 1, 4},
    {GgufType::i64, "I64", 27, 1, 8},
    {GgufType::q4_0, "Q4_0", 2, 32, 18},
    {GgufType::q4_1, "Q4_1", 3, 32, 20},
    {GgufType::q5_0, "Q5_0", 6, 32, 22},
    {GgufType::q5_1, "Q5_1", 7, 32, 24},
    {GgufType::q8_0, "Q8_0", 8, 32, 34},
    {GgufType::q8_1, "Q8_1", 9, 32, 36},
    {GgufType::q2_k, "Q2_K", 10, 256, 84},
    {GgufType::q3_k, "Q3_K", 11, 256, 110},
    {GgufType::q4_k, "Q4_K", 12, 256, 144},
    {GgufType::q5_k, "Q5_K", 13, 256, 176},
    {GgufType::q6_k, "Q6_K", 14, 256, 210},
    {GgufType::q8_k, "Q8_K", 15, 256, 292},
    {GgufType::iq1_s, "IQ1_S", 19, 256, 50},
    {GgufType::iq1_m, "IQ1_M", 29, 256, 56},
    {GgufType::iq2_xxs, "IQ2_XXS", 16, 256, 66},
    {GgufType::iq2_xs, "IQ2_XS", 17, 256, 74},
    {GgufType::iq2_s, "IQ2_S", 22, 256, 82},
    {GgufType::iq3_xxs, "IQ3_XXS", 18, 256, 98},
    {GgufType::iq3_s, "IQ3_S", 21, 256, 110},
    {GgufType::iq4_nl, "IQ4_NL", 20, 32, 18},
    {GgufType::iq4_xs, "IQ4_XS", 23, 256, 136},
    {GgufType::tq1_0, "TQ1_0", 34, 256, 54},
    {GgufType::tq2_0, "TQ2_0", 35, 256, 66},
    {GgufType::mxfp4, "MXFP4", 39, 32, 17},
    {GgufType::nvfp4, "NVFP4", 40, 64, 36},
};
// clang-format on

constexpr bool rows_are_by_type() {
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (kRows[i].type != static_cast<GgufType>(i)) return false;
  }
  return std::size(kRows) == kGgufTypes;
}
static_assert(rows_are_by_type());

constexpr std::string_view kKindNames[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "boolean", "string", "array", "u64", "i64", "f64"};

std::string_view name_of_kind(GgufKind kind) {
  return kKindNames[static_cast<size_t>(kind)];
}

bool is_integer_kind(GgufKind kind) {
  return kind <= GgufKind::i32 || kind == GgufKind::u64 || kind == GgufKind::i64;
}

template <class T>
T load(const std::vector<std::byte>& bytes, size_t& at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  at += sizeof(T);
  return value;
}

}  // namespace

const GgufTypeRow& row_of(GgufType type) {
  return kRows[static_cast<size_t>(type)];
}

std::string_view name_of(GgufType type) {
  return row_of(type).name;
}

std::optional<GgufType> gguf_type_of(uint32_t id) {
  for (const GgufTypeRow& row : kRows) {
    if (row.id == id) return row.type;
  }
  return std::nullopt;
}

int64_t GgufTensor::count() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

std::vector<std::string_view> GgufMetadata::keys() const {
  std::vector<std::string_view> keys;
  keys.reserve(entries_.size());
  for (const auto& [key, value] : entries_) keys.push_back(key);
  return keys;
}

void GgufMetadata::fail(std::string_view key, std::string_view reason) const {
  throw Error(fmt::format("{}: {} {}", source_, shown(key), reason));
}

const GgufMetadata::Value& GgufMetadata::at(std::string_view key) const {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) fail(key, "is missing");
  return entries_[found->second].second;
}

const GgufMetadata::Value& GgufMetadata::array_at(std::string_view key) const {
  const Value& value = at(key);
  if (value.kind != GgufKind::array)
    fail(key, fmt::format("is of kind {}; it must be an array", name_of_kind(value.kind)));
  return value;
}

std::string_view GgufMetadata::string_at(size_t& at) const {
  const auto size = static_cast<size_t>(load<uint64_t>(*bytes_, at));
  const std::string_view text(reinterpret_cast<const char*>(bytes_->data()) + at, size);
  at += size;
  return text;
}

int64_t GgufMetadata::integer_at(std::string_view key, GgufKind kind, size_t& at) const {
  switch (kind) {
    case GgufKind::u8:
      return load<uint8_t>(*bytes_, at);
    case GgufKind::i8:
      return load<int8_t>(*bytes_, at);
    case GgufKind::u16:
      return load<uint16_t>(*bytes_, at);
    case GgufKind::i16:
      return load<int16_t>(*bytes_, at);
    case GgufKind::u32:
      return load<uint32_t>(*bytes_, at);
    case GgufKind::i32:
      return load<int32_t>(*bytes_, at);
    case GgufKind::i64:
      return load<int64_t>(*bytes_, at);
    case GgufKind::u64: {
      const uint64_t value = load<uint64_t>(*bytes_, at);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        fail(key, fmt::format("has the number {}, which is above 2^63", value));
      return static_cast<int64_t>(value);
    }
    default:
      fail(key, fmt::format("is of kind {}; it must be an integer", name_of_kind(kind)));
  }
}

double GgufMetadata::number_at(std::string_view key, GgufKind kind, size_t& at) const {
  if (kind == GgufKind::f32) return load<float>(*bytes_, at);
  if (kind == GgufKind::f64) return load<double>(*bytes_, at);
  if (kind == GgufKind::u64) return static_cast<double>(load<uint64_t>(*bytes_, at));
  if (!is_integer_kind(kind))
    fail(key, fmt::format("is of kind {}; it must be a number", name_of_kind(kind)));
  return static_cast<double>(integer_at(key, kind, at));
}

std::string_view GgufMetadata::get_string(std::string_view key) const {
  const Value& value = at(key);
  if (value.kind != GgufKind::string)
    fail(key, fmt::format("is of kind {}; it must be a string", name_of_kind(value.kind)));
  size_t begin = value.begin;
  return string_at(begin);
}

bool GgufMetadata::get_bool(std::string_view key) const {
  const Value& value = at(key);
  if (value.kind != GgufKind::boolean)
    fail(key, fmt::format("is of kind {}; it must be a boolean", name_of_kind(value.kind)));
  return (*bytes_)[value.begin] != std::byte{0};
}

int64_t GgufMetadata::get_int(std::string_view key) const {
  const Value& value = at(key);
  size_t begin = value.begin;
  return integer_at(key, value.kind, begin);
}

double GgufMetadata::get_number(std::string_view key) const {
  const Value& value = at(key);
  size_t begin = value.begin;
  return number_at(key, value.kind, begin);
}

std::string_view GgufMetadata::get_string_or(std::string_view key, std::string_view fallback) const {
  return contains(key) ? get_string(key) : fallback;
}

bool GgufMetadata::get_bool_or(std::string_view key, bool fallback) const {
  return contains(key) ? get_bool(key) : fallback;
}

int64_t GgufMetadata::get_int_or(std::string_view key, int64_t fallback) const {
  return contains(key) ? get_int(key) : fallback;
}

double GgufMetadata::get_number_or(std::string_view key, double fallback) const {
  return contains(key) ? get_number(key) : fallback;
}

bool GgufMetadata::is_array(std::string_view key) const {
  return contains(key) && at(key).kind == GgufKind::array;
}

std::vector<std::string_view> GgufMetadata::strings(std::string_view key) const {
  const Value& value = array_at(key);
  if (value.element != GgufKind::string && value.count > 0)
    fail(key, fmt::format("is an array of {}; it must be one of strings", name_of_kind(value.element)));
  std::vector<std::string_view> out(value.count);
  size_t at = value.begin;
  for (std::string_view& text : out) text = string_at(at);
  return out;
}

std::vector<int64_t> GgufMetadata::integers(std::string_view key) const {
  const Value& value = array_at(key);
  std::vector<int64_t> out(value.count);
  size_t at = value.begin;
  for (int64_t& number : out) number = integer_at(key, value.element, at);
  return out;
}

std::vector<double> GgufMetadata::numbers(std::string_view key) const {
  const Value& value = array_at(key);
  std::vector<double> out(value.count);
  size_t at = value.begin;
  for (double& number : out) number = number_at(key, value.element, at);
  return out;
}

Json GgufMetadata::json_at(std::string_view key, GgufKind kind, size_t& at) const {
  if (kind == GgufKind::string) return Json(string_at(at));
  if (kind == GgufKind::boolean) return Json(load<uint8_t>(*bytes_, at) != 0);
  if (kind == GgufKind::u64) return Json(static_cast<unsigned long>(load<uint64_t>(*bytes_, at)));
  if (kind == GgufKind::array) {
    const auto element = static_cast<GgufKind>(load<uint32_t>(*bytes_, at));
    const uint64_t count = load<uint64_t>(*bytes_, at);
    Json out = Json::array();
    for (uint64_t i = 0; i < count; ++i) out.push_back(json_at(key, element, at));
    return out;
  }
  if (is_integer_kind(kind)) return Json(static_cast<long>(integer_at(key, kind, at)));
  return Json(number_at(key, kind, at));
}

Json GgufMetadata::json(std::string_view key) const {
  const Value& value = at(key);
  size_t begin = value.begin;
  if (value.kind == GgufKind::array) begin -= sizeof(uint32_t) + sizeof(uint64_t);
  return json_at(key, value.kind, begin);
}

std::span<const std::byte> GgufMetadata::raw(std::string_view key) const {
  const Value& value = at(key);
  size_t begin = value.begin - sizeof(uint32_t);
  if (value.kind == GgufKind::array) begin -= sizeof(uint32_t) + sizeof(uint64_t);
  return std::span(*bytes_).subspan(begin, value.end - begin);
}

}  // namespace r1
