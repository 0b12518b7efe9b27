// base/process.h: this process's memory, from the system (Linux: /proc/self).
#pragma once

#include <cstdint>

namespace r1 {

// Bytes resident now, and the peak since the start or since the last reset; 0 if the system does not say.
int64_t resident_bytes();
int64_t peak_resident_bytes();
// Restarts the peak at the current value. If the system refuses, it still counts from the start.
void reset_peak_resident() noexcept;

}  // namespace r1
