// ops/matmul/wgmma_cuda.cuh: wgmma on bf16 with sums in f32, for sm_90a: a warpgroup of four warps multiplies
// 64 rows by kN columns.
//
// Operands lie in shared memory as core matrices of 8 rows x 16 bytes (128 bytes in a row): the next eight
// rows lie 128 bytes on, the next 16 bytes of K lie rows x 16 bytes on. Nothing is swizzled: a core matrix
// touches every bank once.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace r1::cuda {

// Where byte `byte` of K of row `row` lies in a matrix of `rows` rows.
__device__ __forceinline__ int core_place(int rows, int row, int byte) {
  return byte / 16 * rows * 16 + row / 8 * 128 + row % 8 * 16 + byte % 16;
}
__device__ __forceinline__ uint64_t core_descriptor(uint32_t address, int rows) {
  return (address & 0x3FFFF) >> 4 | static_cast<uint64_t>(rows * 16 >> 4) << 16 | uint64_t{128 >> 4} << 32;
}

// d += A B. Warp w of the warpgroup has rows 16 w to 16 w + 15; with lane = 4 g + t,
// d[4 b + e] is in row g + 8 (e / 2), column 8 b + 2 t + e % 2.
template <int kN>
struct Wgmma;

#define R1_WGMMA_OUT8(i)                                                                      \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define R1_WGMMA_OUT32(i) R1_WGMMA_OUT8(i), R1_WGMMA_OUT8(i + 8), R1_WGMMA_OUT8(i + 16), R1_WGMMA_OUT8(i + 24)

template <>
struct Wgmma<128> {
  static __device__ __forceinline__ void run(float (&d)[64], uint64_t a, uint64_t b) {
    asm volatile(
        "{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "}, %64, %65, p, 1, 1, 0, 0;}"
        : R1_WGMMA_OUT32(0), R1_WGMMA_OUT32(32)
        : "l"(a), "l"(b));
  }
};

template <>
struct Wgmma<192> {
  static __device__ __forceinline__ void run(float (&d)[96], uint64_t a, uint64_t b) {
    asm volatile(
        "{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
        "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
        "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
        "}, %96, %97, p, 1, 1, 0, 0;}"
        : R1_WGMMA_OUT32(0), R1_WGMMA_OUT32(32), R1_WGMMA_OUT32(64)
        : "l"(a), "l"(b));
  }
};

#undef R1_WGMMA_OUT8
#undef R1_WGMMA_OUT32

// Before the first wgmma after registers of d were touched.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most kPending groups run.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving accesses of d across.
template <int kCount>
__device__ __forceinline__ void wgmma_hold(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

}  // namespace r1::cuda
