// tensor/gpu.h: whether this process can use a GPU. In every build.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tensor/dtype.h"

namespace r1 {

struct GpuFacts {
  std::string name;             // "NVIDIA H200"
  std::string capability;       // "9.0"
  std::string cuda;             // the newest CUDA that the driver supports: "13.0"
  int64_t bytes = 0, free = 0;  // memory; `free` is what was free when the process first asked
};

struct GpuSearch {
  std::optional<GpuFacts> found = {};
  std::string reason = {};  // if none was found: why, and what to do
  bool broken = false;      // a GPU or its driver is there, but cannot be used
};
// Looks for the GPU once per process.
const GpuSearch& find_gpu();

// The device of a command that names none.
inline Device preferred_device() {
  return find_gpu().found ? Device::cuda : Device::cpu;
}

#if defined(R1_CUDA)
namespace cuda {
// True if this machine has no GPU that a driver shows: neither too old a driver nor a GPU without kernels.
bool no_device();
}  // namespace cuda
#endif

}  // namespace r1
