// tests/gpu/tensor_core.cuh: the two families of tensor-core instructions, for sums in f32 of products of
// bf16 or e4m3.
//
//   mma.sync   one warp:      16 rows x  8 columns, 32 bytes of K (16 bf16 or 32 e4m3); every GPU from sm_80/sm_89
//   wgmma      four warps:    64 rows x kN columns, 32 bytes of K; sm_90a alone
//
// Both types use the same places for the same bytes, so everything around the instructions counts bytes of K.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace r1::test {

enum class Type { bf16, e4m3 };
inline constexpr int kStep = 32;  // bytes of K in one instruction

// D += A B for one warp, with lane = 4 g + t. A: rows g and g + 8, bytes 4 t and 16 + 4 t of K; B: column g,
// the same bytes; D: rows g and g + 8, columns 2 t and 2 t + 1.
template <Type kType>
__device__ __forceinline__ void mma_sync(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kType == Type::bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

// The older, shorter instruction: 16 bytes of K.
__device__ inline void mma_sync_short(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a0), "r"(a1), "r"(b));
}

// A matrix in shared memory by core matrices of 8 rows x 16 bytes (128 bytes in a row): the next eight rows
// lie 128 bytes on, the next 16 bytes of K lie rows x 16 bytes on.
__device__ inline int core_offset(int rows, int row, int byte) {
  return byte / 16 * rows * 16 + row / 8 * 128 + row % 8 * 16 + byte % 16;
}
__device__ inline uint64_t core_descriptor(const void* first, int rows) {
  const uint64_t address = __cvta_generic_to_shared(first);
  return (address & 0x3FFFF) >> 4 | static_cast<uint64_t>(rows * 16 >> 4) << 16 | uint64_t{128 >> 4} << 32;
}

// D = (accumulate ? D : 0) + A B for a warpgroup. Warp w of the four has rows 16 w .. 16 w + 15, placed as
// mma_sync's; column block j of 8 is d[4 j .. 4 j + 3].
template <Type kType, int kN>
struct Wgmma;

#define R1_OUT4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define R1_OUT8(d, i) R1_OUT4(d, i), R1_OUT4(d, i + 4)
#define R1_OUT32(d, i) R1_OUT8(d, i), R1_OUT8(d, i + 8), R1_OUT8(d, i + 16), R1_OUT8(d, i + 24)
#define R1_OUT64(d, i) R1_OUT32(d, i), R1_OUT32(d, i + 32)
#define R1_OUT128(d, i) R1_OUT64(d, i), R1_OUT64(d, i + 64)
#define R1_REGS4 "%0,%1,%2,%3"
#define R1_REGS8 R1_REGS4 ",%4,%5,%6,%7"
#define R1_REGS32                                                                       \
  R1_REGS8                                                                              \
  ",%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28," \
  "%29,%30,%31"
#define R1_REGS64                                                                                \
  R1_REGS32                                                                                      \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54" \
  ",%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define R1_REGS128                                                                               \
  R1_REGS64                                                                                      \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86" \
  ",%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107" \
  ",%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125"   \
  ",%126,%127"

// I0 to I5 are the numbers of the operands after the accumulators.
#define R1_WGMMA(TYPE, KIND, SHARED_END, REGISTERS_END, N, COUNT, I0, I1, I2, I3, I4, I5)                   \
  template <>                                                                                               \
  struct Wgmma<Type::TYPE, N> {                                                                             \
    static __device__ __forceinline__ void shared(float (&d)[COUNT], uint64_t a, uint64_t b,                \
                                                  int accumulate) {                                         \
      asm volatile("{.reg .pred p; setp.ne.b32 p, " I2 ", 0; wgmma.mma_async.sync.aligned.m64n" #N KIND     \
                   " {" R1_REGS##COUNT "}, " I0 ", " I1 ", p, 1, 1" SHARED_END ";}"                         \
                   : R1_OUT##COUNT(d, 0)                                                                    \
                   : "l"(a), "l"(b), "r"(accumulate));                                                      \
    }                                                                                                       \
    static __device__ __forceinline__ void registers(float (&d)[COUNT], const uint32_t (&a)[4], uint64_t b, \
                                                     int accumulate) {                                      \
      asm volatile("{.reg .pred p; setp.ne.b32 p, " I5 ", 0; wgmma.mma_async.sync.aligned.m64n" #N KIND     \
                   " {" R1_REGS##COUNT "}, {" I0 "," I1 "," I2 "," I3 "}, " I4 ", p, 1, 1" REGISTERS_END    \
                                       ";}"                                                                 \
                   : R1_OUT##COUNT(d, 0)                                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));                  \
    }                                                                                                       \
  };
#define R1_WGMMA_BOTH(N, COUNT, ...)                                          \
  R1_WGMMA(bf16, "k16.f32.bf16.bf16", ", 0, 0", ", 0", N, COUNT, __VA_ARGS__) \
  R1_WGMMA(e4m3, "k32.f32.e4m3.e4m3", "", "", N, COUNT, __VA_ARGS__)
R1_WGMMA_BOTH(8, 4, "%4", "%5", "%6", "%7", "%8", "%9")
R1_WGMMA_BOTH(16, 8, "%8", "%9", "%10", "%11", "%12", "%13")
R1_WGMMA_BOTH(64, 32, "%32", "%33", "%34", "%35", "%36", "%37")
R1_WGMMA_BOTH(128, 64, "%64", "%65", "%66", "%67", "%68", "%69")
R1_WGMMA_BOTH(256, 128, "%128", "%129", "%130", "%131", "%132", "%133")

// The instruction runs beside the warps: open before the first one of a group, wait before reading d.
template <int kCount>
__device__ __forceinline__ void wgmma_open(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
template <int kCount>
__device__ __forceinline__ void wgmma_wait(float (&d)[kCount]) {
  asm volatile("wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

}  // namespace r1::test
