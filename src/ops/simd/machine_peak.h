// ops/simd/machine_peak.h: measures this machine's limits: its FMA and int8 units, by independent operations on
// registers, and its memory bandwidth, by reading.
//
// The widest instruction set is chosen at run time, as in the kernels. Twelve chains cover latency (4 to 5)
// times units (2). The figures are measured, not computed: clocks drop under wide vectors and shared cores.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/threads.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

namespace r1 {

// Each function runs `loops` rounds of independent multiply-adds in twelve named variables (an array would be
// kept in memory) and returns the number of floating-point operations; *sink keeps the results alive. A
// function defines R1_STEP(i), one instruction on acc##i, and the variable `first`, the initial value of all;
// R1_PEAK_LOOP is the rest.
#define R1_TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define R1_MAKE(i) auto acc##i = first;
#define R1_KEEP(i) total += acc##i;
#define R1_PEAK_LOOP(flops_a_step)          \
  R1_TWELVE(R1_MAKE)                        \
  for (int64_t i = 0; i < loops; ++i) {     \
    R1_TWELVE(R1_STEP)                      \
  }                                         \
  auto total = first;                       \
  R1_TWELVE(R1_KEEP)                        \
  std::memcpy(sink, &total, sizeof(total)); \
  return static_cast<double>(loops) * 12 * (flops_a_step);

#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline double fma_loop_512(int64_t loops, float* sink) {
  const __m512 x = _mm512_set1_ps(0.999f), first = _mm512_set1_ps(1e-3f);
#define R1_STEP(i)                            \
  acc##i = _mm512_fmadd_ps(acc##i, x, first); \
  asm("" : "+v"(acc##i));
  R1_PEAK_LOOP(16 * 2)
#undef R1_STEP
}
__attribute__((target("avx2,fma"))) inline double fma_loop_256(int64_t loops, float* sink) {
  const __m256 x = _mm256_set1_ps(0.999f), first = _mm256_set1_ps(1e-3f);
#define R1_STEP(i)                            \
  acc##i = _mm256_fmadd_ps(acc##i, x, first); \
  asm("" : "+x"(acc##i));
  R1_PEAK_LOOP(8 * 2)
#undef R1_STEP
}
// VPDPBUSD: four products of int8 numbers, and four sums, per lane.
__attribute__((target("avx512f,avx512vnni"))) inline double int8_loop_512(int64_t loops, float* sink) {
  const __m512i x = _mm512_set1_epi32(0x01010101), first = _mm512_set1_epi32(1);
#define R1_STEP(i) asm("vpdpbusd %1, %1, %0" : "+v"(acc##i) : "v"(x));
  R1_PEAK_LOOP(16 * 8)
#undef R1_STEP
}
__attribute__((target("avx2"))) inline double int8_loop_vex(int64_t loops, float* sink) {
  const __m256i x = _mm256_set1_epi32(0x01010101), first = _mm256_set1_epi32(1);
#define R1_STEP(i) asm("%{vex%} vpdpbusd %1, %1, %0" : "+x"(acc##i) : "x"(x));
  R1_PEAK_LOOP(8 * 8)
#undef R1_STEP
}
// Without VNNI: VPMADDUBSW, VPMADDWD and an addition.
__attribute__((target("avx2"))) inline double int8_loop_256(int64_t loops, float* sink) {
  const __m256i x = _mm256_set1_epi32(0x01010101), ones = _mm256_set1_epi16(1), first = _mm256_set1_epi32(1);
#define R1_STEP(i)                                                    \
  {                                                                   \
    __m256i pairs = _mm256_maddubs_epi16(acc##i, x);                  \
    asm("" : "+x"(pairs));                                            \
    acc##i = _mm256_add_epi32(first, _mm256_madd_epi16(pairs, ones)); \
  }
  R1_PEAK_LOOP(8 * 8)
#undef R1_STEP
}
inline bool has_avx_vnni() {  // CPUID.(EAX=7, ECX=1):EAX bit 4
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && a >= 1 &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}
inline double int8_loop(int64_t loops, float* sink) {
  if (__builtin_cpu_supports("avx512vnni")) return int8_loop_512(loops, sink);
  return has_avx_vnni() ? int8_loop_vex(loops, sink) : int8_loop_256(loops, sink);
}
inline double fma_loop(int64_t loops, float* sink) {
  return __builtin_cpu_supports("avx512f") ? fma_loop_512(loops, sink) : fma_loop_256(loops, sink);
}
// VDPBF16PS: two products and two sums per lane. Call it only if machine_has(Numerics::cpu_avx512bf16).
__attribute__((target("avx512f,avx512bf16"))) inline double bf16_loop(int64_t loops, float* sink) {
  const __m512 first = _mm512_set1_ps(1e-3f);
  const __m512i x = _mm512_set1_epi32(0x3F003F00);
#define R1_STEP(i) asm("vdpbf16ps %1, %1, %0" : "+v"(acc##i) : "v"(x));
  R1_PEAK_LOOP(16 * 4)
#undef R1_STEP
}
#elif defined(__ARM_NEON)
inline double fma_loop(int64_t loops, float* sink) {
  const float32x4_t x = vdupq_n_f32(0.999f), first = vdupq_n_f32(1e-3f);
#define R1_STEP(i)                      \
  acc##i = vfmaq_f32(first, acc##i, x); \
  asm("" : "+w"(acc##i));
  R1_PEAK_LOOP(4 * 2)
#undef R1_STEP
}
inline double bf16_loop(int64_t, float*) {
  return 0;
}
// SDOT: four products of int8 numbers, and four sums, per lane. 0 on a core without it.
inline double int8_loop(int64_t loops, float* sink) {
#if defined(__linux__)
  constexpr unsigned long kDot = 1UL << 20;  // HWCAP_ASIMDDP
  if ((getauxval(AT_HWCAP) & kDot) == 0) return 0;
#endif
  const int8x16_t x = vdupq_n_s8(1);
  const int32x4_t first = vdupq_n_s32(1);
#define R1_STEP(i) asm(".arch armv8.2-a+dotprod\n\tsdot %0.4s, %1.16b, %1.16b" : "+w"(acc##i) : "w"(x));
  R1_PEAK_LOOP(4 * 8)
#undef R1_STEP
}
#else
inline double int8_loop(int64_t, float*) {
  return 0;
}
inline double fma_loop(int64_t, float*) {
  return 0;
}
inline double bf16_loop(int64_t, float*) {
  return 0;
}
#endif
#undef R1_PEAK_LOOP
#undef R1_KEEP
#undef R1_MAKE
#undef R1_TWELVE

// GFLOP/s of all threads of the pool together: the best of several runs of a few milliseconds each.
template <class Loop>
double peak_of(ThreadPool& threads, const Loop& loop) {
  constexpr int64_t kLoops = 200'000;
  double best = 0;
  for (int run = 0; run < 8; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    threads.parallel_for(threads.size() * 4, 1, [&](int64_t first, int64_t last) {
      alignas(64) float sink[16] = {};
      for (int64_t i = first; i < last; ++i) loop(kLoops, sink);
      volatile float keep = sink[0];
      (void)keep;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    alignas(64) float sink[16] = {};
    const double flops = loop(1, sink) * static_cast<double>(kLoops) * threads.size() * 4;
    best = std::max(best, flops / seconds * 1e-9);
  }
  return best;
}
inline double fma_peak(ThreadPool& threads) {
  return peak_of(threads, fma_loop);
}
inline double bf16_peak(ThreadPool& threads) {
  return peak_of(threads, bf16_loop);
}
// GOP/s of int8 products that are summed in int32, in the widest instructions that the quantised kernels use.
inline double int8_peak(ThreadPool& threads) {
  return peak_of(threads, int8_loop);
}

// GB/s of all threads together reading `bytes` (more than the caches hold): the best of several runs. A thread reads
// four streams at a time, and asks for lines ahead: one stream alone does not fill the memory's queues.
inline double read_bandwidth(ThreadPool& threads, int64_t bytes) {
  using Vector [[gnu::vector_size(32)]] = uint64_t;
  constexpr int64_t kStep = 4, kStreams = 4, kGrain = 4096;  // vectors of a step; steps of a task
  constexpr int64_t kAhead = 1024;                           // bytes
  constexpr auto kStepBytes = kStep * static_cast<int64_t>(sizeof(Vector));
  const int64_t steps = std::max(kStreams, bytes / kStepBytes);
  const std::vector<uint64_t> memory(static_cast<size_t>(steps * kStep) * sizeof(Vector) / sizeof(uint64_t),
                                     1);
  double best = 0;
  for (int run = 0; run < 5; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    threads.parallel_for(steps, kGrain, [&](int64_t first, int64_t last) {
      Vector sums[kStep] = {};
      const int64_t each = (last - first) / kStreams;
      const auto* at = reinterpret_cast<const char*>(memory.data()) + first * kStepBytes;
      for (int64_t i = 0; i < each; ++i) {
        for (int64_t s = 0; s < kStreams; ++s) {
          const char* from = at + (s * each + i) * kStepBytes;
          __builtin_prefetch(from + kAhead);
          __builtin_prefetch(from + kAhead + kStepBytes / 2);
          for (int64_t k = 0; k < kStep; ++k) {
            Vector v;
            std::memcpy(&v, from + k * static_cast<int64_t>(sizeof(Vector)), sizeof(Vector));
            sums[k] += v;
          }
        }
      }
      volatile uint64_t keep = (sums[0] + sums[1] + sums[2] + sums[3])[0];
      (void)keep;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, static_cast<double>(steps * kStepBytes) / seconds * 1e-9);
  }
  return best;
}

}  // namespace r1
