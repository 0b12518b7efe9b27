// ops/matmul/quant_dot.cc: which kernel this machine runs.
#include "ops/matmul/quant_dot.h"

#include <array>
#include <atomic>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace r1 {
namespace {

#if defined(__x86_64__)
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw");
}

bool has_avx_vnni() {  // CPUID.(EAX=7, ECX=1):EAX bit 4
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && a >= 1 &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

const std::array kKernels = {
    QuantKernel{"AVX-512 VNNI", has_avx512_vnni(), quant_dot::avx512vnni},
    QuantKernel{"AVX-VNNI", has_avx_vnni(), quant_dot::avxvnni},
    QuantKernel{"AVX2", true, quant_dot::avx2},  // the baseline of x86 builds
    QuantKernel{"portable", true, quant_dot::portable},
};
#elif defined(__aarch64__)
bool has_dot() {
#if defined(__linux__)
  constexpr unsigned long kDot = 1UL << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDot) != 0;
#else
  return false;
#endif
}

bool has_i8mm() {
#if defined(__linux__)
  constexpr unsigned long kI8mm = 1UL << 13;  // HWCAP2_I8MM
  return has_dot() && (getauxval(AT_HWCAP2) & kI8mm) != 0;
#else
  return false;
#endif
}

const std::array kKernels = {
    QuantKernel{"NEON i8mm", has_i8mm(), quant_dot::neon_i8mm},
    QuantKernel{"NEON dot", has_dot(), quant_dot::neon_dot},
    QuantKernel{"portable", true, quant_dot::portable},
};
#else
const std::array kKernels = {QuantKernel{"portable", true, quant_dot::portable}};
#endif

std::atomic<const QuantKernel*> chosen = nullptr;

}  // namespace

std::span<const QuantKernel> quant_kernels() {
  return kKernels;
}

const QuantKernel& quant_kernel() {
  if (const QuantKernel* kernel = chosen.load(std::memory_order_relaxed)) return *kernel;
  for (const QuantKernel& kernel : kKernels) {
    if (kernel.usable) return kernel;
  }
  return kKernels.back();
}

WithQuantKernel::WithQuantKernel(const QuantKernel& kernel) {
  chosen.store(&kernel, std::memory_order_relaxed);
}

WithQuantKernel::~WithQuantKernel() {
  chosen.store(nullptr, std::memory_order_relaxed);
}

}  // namespace r1
