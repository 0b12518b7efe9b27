// base/byte_text.h: a number of bytes for people: "3.55 GB", in powers of 1000 as disks and hubs count.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace r1 {

inline std::string byte_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < std::size(kUnits)) {
    bytes /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.{}f} {}", bytes, bytes < 9.995 ? 2 : bytes < 99.95 ? 1 : 0, kUnits[unit]);
}
inline std::string byte_text(int64_t bytes) {
  return byte_text(static_cast<double>(bytes));
}

}  // namespace r1
