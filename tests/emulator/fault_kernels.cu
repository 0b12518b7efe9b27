// tests/emulator/fault_kernels.cu: kernels with the faults that the emulator is there to find.
#include <cuda_runtime.h>

#include "tensor/cuda.h"
#include "tests/emulator/fault_kernels.h"

namespace r1::emulator {
namespace {

__global__ void read_behind(const float* from, int64_t at, float* to) {
  *to = from[at];
}

__global__ void read_unaligned(const float* from, float4* to) {
  *to = *reinterpret_cast<const float4*>(from + 1);
}

// Each thread reads what a thread of the other warp has written. There are 64 threads.
template <bool kWaits>
__global__ void swap_warps(float* values) {
  __shared__ float handed[64];
  const int other = (threadIdx.x + 32) % 64;
  handed[threadIdx.x] = values[threadIdx.x];
  if (kWaits) __syncthreads();
  values[threadIdx.x] = handed[other];
}

template <bool kWaits>
__global__ void copy_async(const float* from, float* to) {
  __shared__ float copy[32];
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(copy + threadIdx.x));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(at), "l"(from + threadIdx.x) : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  if (kWaits) asm volatile("cp.async.wait_group 0;" ::: "memory");
  to[threadIdx.x] = copy[threadIdx.x];
}

// Two warps are waited for, and one comes.
__global__ void wait_for_nobody() {
  asm volatile("bar.sync 1, 64;" ::: "memory");
}

// Half of the warp asks for all of it in one place, the other half in another.
__global__ void shuffle_apart(float* values) {
  float got = 0;
  if (threadIdx.x < 16)
    got = __shfl_up_sync(0xFFFFFFFFu, values[threadIdx.x], 1);
  else
    got = __shfl_down_sync(0xFFFFFFFFu, values[threadIdx.x], 2);
  values[threadIdx.x] = got;
}

void check_done(const char* kernel) {
  cuda::check_launch(kernel);
  cuda::check(cudaDeviceSynchronize(), kernel);
}

}  // namespace

void launch_read_behind(const float* from, int64_t at, float* to) {
  read_behind<<<1, 1>>>(from, at, to);
  check_done("read_behind");
}
void launch_read_unaligned(const float* from, float* to) {
  read_unaligned<<<1, 1>>>(from, reinterpret_cast<float4*>(to));
  check_done("read_unaligned");
}
void launch_swap_warps(float* values, bool waits) {
  waits ? swap_warps<true><<<1, 64>>>(values) : swap_warps<false><<<1, 64>>>(values);
  check_done("swap_warps");
}
void launch_copy_async(const float* from, float* to, bool waits) {
  waits ? copy_async<true><<<1, 32>>>(from, to) : copy_async<false><<<1, 32>>>(from, to);
  check_done("copy_async");
}
void launch_shuffle_apart(float* values) {
  shuffle_apart<<<1, 32>>>(values);
  check_done("shuffle_apart");
}
void launch_wait_for_nobody() {
  wait_for_nobody<<<1, 32>>>();
  check_done("wait_for_nobody");
}

}  // namespace r1::emulator
