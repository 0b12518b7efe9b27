// tensor/device_graph_cuda.cu: DeviceGraph by CUDA's stream capture.
#include <cuda_runtime.h>

#include <algorithm>
#include <exception>
#include <map>

#include "tensor/cuda.h"
#include "tensor/device_graph.h"

namespace r1 {

struct DeviceGraph::Recorded {
  cudaGraph_t recorded = nullptr;
  cudaGraphExec_t graph = nullptr;
  int64_t launches = 0;
  ~Recorded() {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
    if (recorded != nullptr) cudaGraphDestroy(recorded);
  }
};

// Other threads may allocate meanwhile, so only this thread is held to the rules of a capture.
DeviceGraph::DeviceGraph(void* stream, const std::function<void()>& work)
    : recorded_(std::make_unique<Recorded>()) {
  const auto s = static_cast<cudaStream_t>(stream);
  cuda::check(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  std::exception_ptr failed;
  try {
    work();
  } catch (...) {
    failed = std::current_exception();
  }
  const cudaError_t ended = cudaStreamEndCapture(s, &recorded_->recorded);
  if (failed) {
    cudaGetLastError();
    std::rethrow_exception(failed);
  }
  cuda::check(ended, "cudaStreamEndCapture");
  size_t nodes = 0;
  cuda::check(cudaGraphGetNodes(recorded_->recorded, nullptr, &nodes), "cudaGraphGetNodes");
  recorded_->launches = static_cast<int64_t>(nodes);
  cuda::check(cudaGraphInstantiate(&recorded_->graph, recorded_->recorded, 0), "cudaGraphInstantiate");
}

DeviceGraph::~DeviceGraph() = default;
DeviceGraph::DeviceGraph(DeviceGraph&&) noexcept = default;

void DeviceGraph::launch(void* stream) const {
  cuda::check(cudaGraphLaunch(recorded_->graph, static_cast<cudaStream_t>(stream)), "cudaGraphLaunch");
}

namespace {

// "tensor_few" of "_ZN2r14cuda...10tensor_fewI...": the last name that has a length before it.
std::string short_name(const char* mangled) {
  std::string name = mangled, last = name;
  for (size_t at = 0; at < name.size();) {
    if (name[at] == 'I') break;
    if (name[at] < '0' || name[at] > '9') {
      ++at;
      continue;
    }
    size_t digits = 0;
    const size_t length = std::stoul(name.substr(at), &digits);
    if (length == 0 || at + digits + length > name.size()) break;
    last = name.substr(at + digits, length);
    at += digits + length;
  }
  return last;
}

struct KernelNode {
  cudaKernelNodeParams params{};
  dim3 cluster;
};

void launch_kernel(const KernelNode& node, cudaStream_t stream) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {node.cluster.x, node.cluster.y, node.cluster.z};
  cudaLaunchConfig_t config{};
  config.gridDim = node.params.gridDim, config.blockDim = node.params.blockDim;
  config.dynamicSmemBytes = node.params.sharedMemBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = node.cluster.x * node.cluster.y * node.cluster.z > 1 ? 1 : 0;
  cuda::check(cudaLaunchKernelExC(&config, node.params.func, node.params.kernelParams),
              "cudaLaunchKernelExC");
}

}  // namespace

std::vector<DeviceGraph::KernelTime> DeviceGraph::kernel_times(void* stream) const {
  const auto s = static_cast<cudaStream_t>(stream);
  size_t count = 0;
  cuda::check(cudaGraphGetNodes(recorded_->recorded, nullptr, &count), "cudaGraphGetNodes");
  std::vector<cudaGraphNode_t> nodes(count);
  cuda::check(cudaGraphGetNodes(recorded_->recorded, nodes.data(), &count), "cudaGraphGetNodes");
  struct Launch {
    KernelNode kernel;
    std::string name;
    cudaEvent_t begin = nullptr, end = nullptr;
  };
  std::vector<Launch> launches;
  for (const cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    cuda::check(cudaGraphNodeGetType(node, &type), "cudaGraphNodeGetType");
    if (type != cudaGraphNodeTypeKernel) continue;
    cudaKernelNodeParams p{};
    cuda::check(cudaGraphKernelNodeGetParams(node, &p), "cudaGraphKernelNodeGetParams");
    cudaLaunchAttributeValue cluster{};
    cuda::check(cudaGraphKernelNodeGetAttribute(node, cudaLaunchAttributeClusterDimension, &cluster),
                "cudaGraphKernelNodeGetAttribute");
    const char* name = nullptr;
    cuda::check(cudaFuncGetName(&name, p.func), "cudaFuncGetName");
    launches.push_back({{p, {cluster.clusterDim.x, cluster.clusterDim.y, cluster.clusterDim.z}},
                        short_name(name) + " " + std::to_string(p.gridDim.x) + "x" +
                            std::to_string(p.gridDim.y) + "x" + std::to_string(p.gridDim.z)});
  }
  constexpr int kRounds = 32;  // of a kernel, so that the events around them weigh little
  for (Launch& launch : launches) {
    cuda::check(cudaEventCreate(&launch.begin), "cudaEventCreate");
    cuda::check(cudaEventCreate(&launch.end), "cudaEventCreate");
    launch_kernel(launch.kernel, s);
    cuda::check(cudaEventRecord(launch.begin, s), "cudaEventRecord");
    for (int round = 0; round < kRounds; ++round) launch_kernel(launch.kernel, s);
    cuda::check(cudaEventRecord(launch.end, s), "cudaEventRecord");
  }
  cuda::check(cudaStreamSynchronize(s), "cudaStreamSynchronize");
  std::map<std::string, KernelTime> by_name;
  for (const Launch& launch : launches) {
    float milliseconds = 0;
    cuda::check(cudaEventElapsedTime(&milliseconds, launch.begin, launch.end), "cudaEventElapsedTime");
    KernelTime& time = by_name[launch.name];
    time.name = launch.name;
    time.launches += 1;
    time.microseconds += 1e3 * milliseconds / kRounds;
    cudaEventDestroy(launch.begin);
    cudaEventDestroy(launch.end);
  }
  std::vector<KernelTime> times;
  for (const auto& [name, time] : by_name) times.push_back(time);
  std::ranges::sort(times, {}, [](const KernelTime& t) { return -t.microseconds; });
  return times;
}

int64_t DeviceGraph::launches() const {
  return recorded_->launches;
}

}  // namespace r1
