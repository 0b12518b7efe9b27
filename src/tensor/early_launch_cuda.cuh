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

// Launches `kernel`, early if `early` and the device can. A multiprocessor changes the share of its memory that is shared
// only while it is idle, so kernels that overlap all ask for the largest share.
// `cluster` neighbouring blocks share their shared memory (sm_90).
template <class... Parameters, class... Arguments>
void launch_early_clusters(bool early, unsigned cluster, const char* name, void (*kernel)(Parameters...),
                           dim3 grid, dim3 threads, size_t shared, void* stream,
                           const Arguments&... arguments) {
  cudaLaunchAttribute attributes[3]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributePreferredSharedMemoryCarveout;
  attributes[1].val.sharedMemCarveout = cudaSharedmemCarveoutMaxShared;
  unsigned count = early && starts_early() ? 2 : 0;
  if (cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {cluster, 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
  check_launch(name);
}
template <class... Parameters, class... Arguments>
void launch_early(bool early, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads,
                  size_t shared, void* stream, const Arguments&... arguments) {
  launch_early_clusters(early, 1, name, kernel, grid, threads, shared, stream, arguments...);
}

}  // namespace r1::cuda
