#include "ops/simd/machine_limits.h"

#include <algorithm>

#include "base/error.h"
#include "ops/simd/machine_peak.h"

namespace r1 {

namespace {

constexpr double kGiga = 1e9;

}  // namespace

double bandwidth_limit(Memory& memory, ThreadPool& threads, int64_t most) {
  constexpr int64_t kLeast = int64_t{1} << 20, kHost = int64_t{256} << 20;
  if (memory.device() == Device::cpu) return read_bandwidth(threads, std::clamp(most, kLeast, kHost)) * kGiga;
#if defined(R1_CUDA)
  constexpr int64_t kDevice = int64_t{1} << 30;
  return cuda::copy_limit(std::clamp(most / 2, kLeast, kDevice));
#else
  throw Error("this build has no CUDA: use --device cpu");
#endif
}

double operations_limit(const Memory& memory, Numerics numerics, ThreadPool& threads) {
  const Product product = row_of(numerics).product;
#if defined(R1_CUDA)
  if (memory.device() == Device::cuda)
    return product == Product::tensor_bf16 ? cuda::tensor_limit() : cuda::fma_limit();
#endif
  R1_CHECK(memory.device() == Device::cpu, "a device that this build lacks");
  switch (product) {
    case Product::q8act:
      return int8_peak(threads) * kGiga;
    case Product::avx512bf16:
      return bf16_peak(threads) * kGiga;
    default:
      return fma_peak(threads) * kGiga;
  }
}

}  // namespace r1
