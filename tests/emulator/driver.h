// tests/emulator/driver.h: the functions of CUDA's driver that this project looks up, and the device's memory.
#pragma once

#include <cstddef>

namespace r1::emulator {

// The device's memory: 6 GiB, or R1_EMULATED_MIB.
size_t device_bytes();
void* find_driver_function(const char* name);
// Counts memory that is allocated. False if there is not so much.
bool take_bytes(size_t bytes);
void give_bytes(size_t bytes);
size_t free_bytes();

}  // namespace r1::emulator
