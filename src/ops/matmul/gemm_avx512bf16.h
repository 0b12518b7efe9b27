// ops/matmul/gemm_avx512bf16.h: Product::avx512bf16 (gemm.h). It has its own file because it is compiled for
// AVX512-BF16. Called only if machine_has(Numerics::cpu_avx512bf16). Private to this folder.
#pragma once

#include "ops/matmul/gemm.h"

namespace r1 {

// Computes rows [m0, m1) (at most 192) and panels [p0, p1) of C over all of K. A by rows, B as pairs.
void gemm_tile_avx512bf16(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1);

}  // namespace r1
