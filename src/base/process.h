// base/process.h: what the system says of this process's memory (Linux: /proc/self).
#pragma once

#include <cstdint>

namespace r1 {

// Bytes in memory now, and the most since the start or the last reset; 0 where the system does not say.
int64_t resident_bytes();
int64_t peak_resident_bytes();
// The peak counts from here on, where the system lets us (else it goes on counting from the start).
void reset_peak_resident() noexcept;

}  // namespace r1
