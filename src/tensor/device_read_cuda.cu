// tensor/device_read_cuda.cu: DeviceRead by pinned memory and an event.
#include <cuda_runtime.h>

#include "base/error.h"
#include "tensor/cuda.h"
#include "tensor/device_read.h"

namespace r1 {

struct DeviceRead::State {
  std::byte* host = nullptr;
  cudaEvent_t done = nullptr;
  ~State() {
    if (done != nullptr) cudaEventDestroy(done);
    if (host != nullptr) cudaFreeHost(host);
  }
};

DeviceRead::DeviceRead(size_t bytes) : state_(std::make_unique<State>()), room_(bytes) {
  cuda::check(cudaMallocHost(&state_->host, bytes), "cudaMallocHost");
  cuda::check(cudaEventCreateWithFlags(&state_->done, cudaEventDisableTiming), "cudaEventCreate");
}
DeviceRead::~DeviceRead() = default;
DeviceRead::DeviceRead(DeviceRead&&) noexcept = default;
DeviceRead& DeviceRead::operator=(DeviceRead&&) noexcept = default;

void DeviceRead::begin(const Tensor& from, size_t bytes, void* stream) {
  R1_CHECK(bytes <= room_ && bytes <= from.bytes(), bytes, " bytes, room for ", room_);
  const auto s = static_cast<cudaStream_t>(stream);
  cuda::check(cudaMemcpyAsync(state_->host, from.data, bytes, cudaMemcpyDeviceToHost, s), "cudaMemcpy");
  cuda::check(cudaEventRecord(state_->done, s), "cudaEventRecord");
  bytes_ = bytes;
}

std::span<const std::byte> DeviceRead::wait() {
  cuda::check(cudaEventSynchronize(state_->done), "cudaEventSynchronize");
  return {state_->host, bytes_};
}

}  // namespace r1
