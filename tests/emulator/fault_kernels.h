// tests/emulator/fault_kernels.h: launches of kernels with faults. Each waits for its kernel; errors are thrown.
#pragma once

#include <cstdint>

namespace r1::emulator {

void launch_read_behind(const float* from, int64_t at, float* to);
void launch_read_unaligned(const float* from, float* to);  // writes four values
// Exchanges 32 values with the next 32; without a barrier between writing and reading if it does not wait.
void launch_swap_warps(float* values, bool waits);
// Copies 32 values by way of shared memory; reads them there before the copy is done if it does not wait.
void launch_copy_async(const float* from, float* to, bool waits);
// Each half of a warp waits for the other in a place of its own.
void launch_shuffle_apart(float* values);
// A barrier of two warps in a block of one.
void launch_wait_for_nobody();

}  // namespace r1::emulator
