// tests/gpu/exp_kernel.h: the device's exp over an array, for exp_test.cc.
#pragma once

#include <cstdint>

namespace r1::test {

// y[i] = exp_f32(x[i]); pointers are the device's.
void exp_on_device(const float* x, int64_t n, float* y, void* stream);

}  // namespace r1::test
