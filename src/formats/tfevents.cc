#include "formats/tfevents.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <chrono>
#include <cmath>

namespace r1 {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41, bits reversed
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? kPolynomial : 0);
    table[i] = c;
  }
  return table;
}();

uint32_t masked(uint32_t crc) {
  return std::rotr(crc, 15) + 0xa282ead8U;
}

void put_fixed(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

// In Protobuf's wire format, a field is a varint with its number and wire type, followed by the value.
enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, uint32_t field, Wire wire) {
  put_varint(out, field << 3 | static_cast<uint32_t>(wire));
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_key(out, field, Wire::bytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event(double unix_time, int64_t step) {
  std::string out;
  put_key(out, 1, Wire::fixed64);
  put_fixed(out, std::bit_cast<uint64_t>(unix_time), 8);
  put_key(out, 2, Wire::varint);
  put_varint(out, static_cast<uint64_t>(step));
  return out;
}

std::string scalar(std::string_view tag, float value) {
  std::string out;
  put_bytes(out, 1, tag);
  put_key(out, 2, Wire::fixed32);
  put_fixed(out, std::bit_cast<uint32_t>(value), 4);
  return out;
}

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t c = 0xffffffff;
  for (const char byte : bytes) c = (c >> 8) ^ kCrcTable[(c ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~c;
}

std::string tf_record(std::string_view data) {
  std::string out;
  put_fixed(out, data.size(), 8);
  put_fixed(out, masked(crc32c(out)), 4);
  out += data;
  put_fixed(out, masked(crc32c(data)), 4);
  return out;
}

void TfEventsWriter::open(int64_t step, double unix_time) {
  int64_t second = static_cast<int64_t>(unix_time);
  std::filesystem::path path;
  std::error_code ec;
  do {  // a process that was killed within this second may have used the name
    path = directory_ / fmt::format("events.out.tfevents.{}.r1", second++);
  } while (std::filesystem::exists(path, ec));
  out_.emplace(path);
  std::string version = event(unix_time, 0);
  put_bytes(version, 3, "brain.Event:2");
  out_->write(tf_record(version));
  std::string status;  // SessionLog: status (1) = START (1)
  put_key(status, 1, Wire::varint);
  put_varint(status, 1);
  std::string session = event(unix_time, step);
  put_bytes(session, 7, status);
  out_->write(tf_record(session));
}

void TfEventsWriter::write(const Json& row) {
  const int64_t step = row.get_int("step");
  const double now = unix_now();
  if (!out_) open(step, now);
  std::string summary;
  for (const auto& [key, value] : row.members()) {
    if (key != "step" && value.is_number())
      put_bytes(summary, 1, scalar(key, static_cast<float>(value.number())));
  }
  std::string record = event(now, step);
  put_bytes(record, 5, summary);
  out_->write(tf_record(record));
  out_->flush();
}

void TfEventsWriter::close() {
  if (out_) out_->close();
  out_.reset();
}

}  // namespace r1
