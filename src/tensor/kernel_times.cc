#include "tensor/kernel_times.h"

#if defined(R1_CUDA)
#include "tensor/cuda_times.h"
#endif

namespace r1 {

std::vector<KernelTime> time_kernels(const Memory& memory, const std::function<void()>& work) {
#if defined(R1_CUDA)
  if (memory.device() == Device::cuda) return cuda::time_kernels(work);
#endif
  (void)memory;
  work();
  return {};
}

}  // namespace r1
