// tensor/fp8.h: FP8 weights as DeepSeek-V3 and R1 store them (arXiv 2412.19437, 3.3): e4m3 codes [N, K], and
// one scale for each block of 128 x 128, the last row and column of blocks may be cut.
//
//   value[n, k] = code[n, k] * scale[n / 128, k / 128], one product in f32, rounded once
//
// A code is s eeee mmm: (-1)^s 2^(e - 7) (1 + m / 8); with e = 0, (-1)^s 2^-6 m / 8. There is no infinity;
// e = 15, m = 7 is NaN. The largest number is 448.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/stored.h"

namespace r1 {

inline constexpr int64_t kFp8Block = 128;

// The codes' own values, without scales: every one is exact in f32. NaN codes become NaN.
void widen_e4m3(std::span<const std::byte> from, std::span<float> to);

// Stored::read of a matrix of format f8_e4m3. Its scales are an f32, bf16 or f16 matrix [ceil(N / 128),
// ceil(K / 128)].
void read_fp8(const Stored& stored, int64_t first, std::span<float> to);

// Reads all scales of such a matrix. Throws Error, with the tensor and the index, for one that is not a
// positive, finite number.
void check_fp8_scales(const Stored& stored);

}  // namespace r1
