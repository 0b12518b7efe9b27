// ops/matmul/wgmma_cuda.cuh: wgmma on bf16 with sums in f32, for sm_90a: a warpgroup of four warps multiplies
// 64 rows by kN columns. And the barriers in shared memory through which warps hand on stages of operands.
//
// Operands lie in shared memory in panels of lines of 128 bytes, swizzled: vector c of 16 bytes of line l lies
// at place c ^ (l % 8) of the line. Panels are aligned to 1024 bytes.
//   by k      one panel of kTileK = 64 k; a line is a row. A step of 16 k begins 32 bytes on.
//   by rows   a panel for every 64 rows; a line is one k, and the panel has kTileK lines (8192 bytes). A step
//             begins 16 lines on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace r1::cuda {

inline constexpr int kPanelLine = 128, kPanel = 64 * kPanelLine;  // bytes; a panel by rows

__device__ __forceinline__ int panel_place(int line, int vector) {
  return line * kPanelLine + (vector ^ line % 8) * 16;
}

// Describes one step's operand at `address` (of shared memory).
//   bits 0-13 the address, 16-29 the distance of panels (by k: 1), 32-45 that of eight lines, all / 16;
//   bits 62-63 lines of 128 bytes, swizzled
template <bool kByK>
__device__ __forceinline__ uint64_t panel_descriptor(uint32_t address) {
  return (address & 0x3FFFF) >> 4 | uint64_t{kByK ? 1 : kPanel >> 4} << 16 |
         uint64_t{8 * kPanelLine >> 4} << 32 | uint64_t{1} << 62;
}
// Bytes between two steps of an operand.
template <bool kByK>
inline constexpr int kPanelStep = kByK ? 32 : 16 * kPanelLine;

// d = d + A B, or 0 + A B if `keep` is 0. Warp w of the warpgroup has rows 16 w to 16 w + 15; with lane = 4 g + t,
// d[4 b + e] is in row g + 8 (e / 2), column 8 b + 2 t + e % 2. kTransA, kTransB: 1 for operands by rows.
template <int kN>
struct Wgmma;

#define R1_WGMMA_OUT8(i)                                                                      \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define R1_WGMMA_OUT32(i) R1_WGMMA_OUT8(i), R1_WGMMA_OUT8(i + 8), R1_WGMMA_OUT8(i + 16), R1_WGMMA_OUT8(i + 24)

template <>
struct Wgmma<64> {
  template <int kTransA, int kTransB>
  static __device__ __forceinline__ void run(float (&d)[32], uint64_t a, uint64_t b, int keep = 1) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %36, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
        "}, %32, %33, p, 1, 1, %34, %35;}"
        : R1_WGMMA_OUT32(0)
        : "l"(a), "l"(b), "n"(kTransA), "n"(kTransB), "r"(keep));
  }
};

template <>
struct Wgmma<128> {
  template <int kTransA, int kTransB>
  static __device__ __forceinline__ void run(float (&d)[64], uint64_t a, uint64_t b, int keep = 1) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %68, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "}, %64, %65, p, 1, 1, %66, %67;}"
        : R1_WGMMA_OUT32(0), R1_WGMMA_OUT32(32)
        : "l"(a), "l"(b), "n"(kTransA), "n"(kTransB), "r"(keep));
  }
};

template <>
struct Wgmma<192> {
  template <int kTransA, int kTransB>
  static __device__ __forceinline__ void run(float (&d)[96], uint64_t a, uint64_t b, int keep = 1) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %100, 0; wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
        "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
        "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
        "}, %96, %97, p, 1, 1, %98, %99;}"
        : R1_WGMMA_OUT32(0), R1_WGMMA_OUT32(32), R1_WGMMA_OUT32(64)
        : "l"(a), "l"(b), "n"(kTransA), "n"(kTransB), "r"(keep));
  }
};

template <>
struct Wgmma<256> {
  template <int kTransA, int kTransB>
  static __device__ __forceinline__ void run(float (&d)[128], uint64_t a, uint64_t b, int keep = 1) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %132, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
        "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
        "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
        "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
        "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
        "}, %128, %129, p, 1, 1, %130, %131;}"
        : R1_WGMMA_OUT32(0), R1_WGMMA_OUT32(32), R1_WGMMA_OUT32(64), R1_WGMMA_OUT32(96)
        : "l"(a), "l"(b), "n"(kTransA), "n"(kTransB), "r"(keep));
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
// Makes what others wrote to shared memory, and handed on by a barrier, visible to wgmma.
__device__ __forceinline__ void wgmma_see_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The registers of each thread of a warpgroup, in a kernel whose launch bounds limit them.
template <int kCount>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// A barrier in shared memory: a phase ends when `count` have arrived. Phases have parities 0, 1, 0, ...
__device__ __forceinline__ void barrier_init(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives once all asynchronous copies that this thread has begun are done.
__device__ __forceinline__ void barrier_arrive_after_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
// Waits for the end of a phase of this parity; the phase before the first counts as one of parity 1.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, int parity) {
  int done = 0;
  while (done == 0) {
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  }
}

}  // namespace r1::cuda
