#include "tensor/gpu.h"

#include "base/error.h"
#if defined(R1_CUDA)
#include "tensor/cuda.h"
#endif

namespace r1 {
namespace {

GpuSearch search() {
#if defined(R1_CUDA)
  try {
    const cuda::DeviceFacts facts = cuda::device_facts();
    const auto version = [](int major, int minor) {
      return std::to_string(major) + "." + std::to_string(minor);
    };
    constexpr int kMajor = 1000, kMinor = 10;
    return {.found = GpuFacts{.name = facts.name,
                              .capability = version(facts.major, facts.minor),
                              .cuda = version(facts.driver / kMajor, facts.driver % kMajor / kMinor),
                              .bytes = static_cast<int64_t>(facts.bytes),
                              .free = static_cast<int64_t>(facts.free)}};
  } catch (const Error& e) {
    return {.reason = e.what(), .broken = !cuda::no_device()};
  }
#else
  return {.reason = "this r1 was built without CUDA"};
#endif
}

}  // namespace

const GpuSearch& find_gpu() {
  static const GpuSearch found = search();
  return found;
}

}  // namespace r1
