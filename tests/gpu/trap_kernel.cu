#include <cuda_runtime.h>

#include "tests/gpu/trap_kernel.h"

namespace r1::test {
namespace {
__global__ void trap_kernel() {
  __trap();
}
}  // namespace

void lose_device(void* stream) {
  trap_kernel<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>();
}

}  // namespace r1::test
