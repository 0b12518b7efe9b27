#include "tensor/device_read.h"

#include "base/error.h"

#if !defined(R1_CUDA)
namespace r1 {

struct DeviceRead::State {};
DeviceRead::DeviceRead(size_t) {
  throw Error("this build has no CUDA: there is no device to read from");
}
DeviceRead::~DeviceRead() = default;
DeviceRead::DeviceRead(DeviceRead&&) noexcept = default;
DeviceRead& DeviceRead::operator=(DeviceRead&&) noexcept = default;
void DeviceRead::begin(const Tensor&, size_t bytes, void*) {
  bytes_ = bytes;
}
std::span<const std::byte> DeviceRead::wait() {
  return {};
}

}  // namespace r1
#endif
