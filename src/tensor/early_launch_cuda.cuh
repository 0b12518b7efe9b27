// tensor/early_launch_cuda.cuh: launches whose blocks may start while the kernel ahead of them in the stream still runs
// (programmatic dependent launch, sm_90 and up): what a kernel does before it reads what others wrote costs no time.
//
// A kernel that is launched early calls let_next_start() first, and await_previous() in every thread before it reads
// or writes what the kernels ahead of it read or write.
#pragma once

#include <cuda_runtime.h>

#include "tensor/context.h"
#include "tensor/cuda.h"

namespace r1::cuda {

__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void await_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// True if launches are recorded for steps to come: what they read of the weights is ready long before.
inline bool launches_early(const Context& ctx) {
  return ctx.lists != nullptr && ctx.lists->recording;
}

// Launches `kernel`, early if `early` and the device can.
template <class... Parameters, class... Arguments>
void launch_early(bool early, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads,
                  size_t shared, void* stream, const Arguments&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = early && starts_early() ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
  check_launch(name);
}

}  // namespace r1::cuda
