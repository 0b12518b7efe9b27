// Reads TensorBoard's event files. It shares nothing with the writer but the two published formats. Any
// damage is a test failure.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace r1::test {

inline uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// crc32c bit by bit; TFRecord's mask is undone rather than applied.
inline uint32_t slow_crc(std::string_view bytes) {
  uint32_t c = ~0U;
  for (const char byte : bytes) {
    c ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78U : c >> 1;
  }
  return ~c;
}
inline uint32_t unmasked(uint32_t value) {
  return std::rotl(value - 0xa282ead8U, 15);
}

inline std::vector<std::string> records_of(std::string_view file) {
  std::vector<std::string> out;
  while (!file.empty()) {
    if (file.size() < 16) {
      ADD_FAILURE() << "torn record of " << file.size() << " bytes";
      break;
    }
    const size_t size = little_endian(file.substr(0, 8));
    EXPECT_EQ(unmasked(static_cast<uint32_t>(little_endian(file.substr(8, 4)))), slow_crc(file.substr(0, 8)));
    if (file.size() < size + 16) {
      ADD_FAILURE() << "record says " << size << " bytes, " << file.size() - 16 << " are there";
      break;
    }
    const std::string_view data = file.substr(12, size);
    EXPECT_EQ(unmasked(static_cast<uint32_t>(little_endian(file.substr(12 + size, 4)))), slow_crc(data));
    out.emplace_back(data);
    file.remove_prefix(size + 16);
  }
  return out;
}

// Every field of a protobuf message: numbers as their bits, strings and messages as their bytes.
struct Field {
  uint32_t number = 0;
  uint64_t bits = 0;
  std::string bytes;
};

inline uint64_t varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0; !in.empty(); shift += 7) {
    const uint8_t byte = static_cast<uint8_t>(in.front());
    in.remove_prefix(1);
    value |= uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
  ADD_FAILURE() << "torn varint";
  return 0;
}

inline std::vector<Field> fields_of(std::string_view in) {
  std::vector<Field> out;
  while (!in.empty()) {
    const uint64_t key = varint(in);
    Field field{.number = static_cast<uint32_t>(key >> 3), .bits = 0, .bytes = ""};
    const auto take = [&](size_t n) {
      EXPECT_LE(n, in.size());
      n = std::min(n, in.size());
      const std::string_view bytes = in.substr(0, n);
      in.remove_prefix(n);
      return bytes;
    };
    switch (key & 7) {
      case 0:
        field.bits = varint(in);
        break;
      case 1:
        field.bits = little_endian(take(8));
        break;
      case 2:
        field.bytes = take(varint(in));
        break;
      case 5:
        field.bits = little_endian(take(4));
        break;
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return out;
    }
    out.push_back(std::move(field));
  }
  return out;
}

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string version, session;
  std::map<std::string, float> scalars;
};

inline Event event_of(const std::string& record) {
  Event event;
  for (const Field& field : fields_of(record)) {
    if (field.number == 1) event.wall_time = std::bit_cast<double>(field.bits);
    if (field.number == 2) event.step = static_cast<int64_t>(field.bits);
    if (field.number == 3) event.version = field.bytes;
    if (field.number == 7) event.session = field.bytes;
    if (field.number != 5) continue;
    for (const Field& value : fields_of(field.bytes)) {
      EXPECT_EQ(value.number, 1u);
      const std::vector<Field> parts = fields_of(value.bytes);
      EXPECT_EQ(parts.size(), 2u);
      event.scalars[parts.at(0).bytes] = std::bit_cast<float>(static_cast<uint32_t>(parts.at(1).bits));
    }
  }
  return event;
}

inline std::vector<std::filesystem::path> event_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) out.push_back(entry.path());
  std::ranges::sort(out);
  return out;
}

}  // namespace r1::test
