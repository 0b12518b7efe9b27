// ops/simd/exp_vector.h: exp of a whole array with the machine's widest vectors; the same bits as exp_f32.
#pragma once

#include <cstdint>

namespace r1 {

void exp_array(const float* x, int64_t n, float* y);  // y may be x

}  // namespace r1
