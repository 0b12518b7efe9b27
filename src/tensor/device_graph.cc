#include "tensor/device_graph.h"

#include "base/error.h"

#if !defined(R1_CUDA)
namespace r1 {

struct DeviceGraph::Recorded {};
DeviceGraph::DeviceGraph(void*, const std::function<void()>&) {
  throw Error("this build has no CUDA: nothing can be recorded");
}
DeviceGraph::~DeviceGraph() = default;
DeviceGraph::DeviceGraph(DeviceGraph&&) noexcept = default;
void DeviceGraph::launch(void*) const {}
int64_t DeviceGraph::launches() const {
  return 0;
}
std::vector<DeviceGraph::KernelTime> DeviceGraph::kernel_times(void*) const {
  return {};
}

}  // namespace r1
#endif
