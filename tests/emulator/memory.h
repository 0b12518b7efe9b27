// tests/emulator/memory.h: which of the host's memory is the emulated device's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace r1::emulator {

// Ranges that kernels may read and write; neighbours are one. Thread-safe.
void add_range(uint64_t begin, uint64_t bytes);
void remove_range(uint64_t begin, uint64_t bytes);
// Sets the range that `address` lies in. False if there is none.
bool find_range(uint64_t address, uint64_t* begin, uint64_t* bytes);
// Grows with every removal: what was found before may be gone.
extern std::atomic<uint32_t> range_removals;

}  // namespace r1::emulator
