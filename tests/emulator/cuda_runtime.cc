// tests/emulator/cuda_runtime.cc: the functions of CUDA's runtime library that this project calls, for the emulated device.
//
// A program linked with these runs without a GPU. Work is done when it is asked for; streams only record what a graph is
// made of. After a fault every call fails, as on a GPU.
#include <cuda_runtime.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "base/error.h"
#include "tests/emulator/driver.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/modules.h"

using namespace r1::emulator;

struct CUgraphNode_st {
  std::function<void()> work;
  // of a kernel
  Kernel* kernel = nullptr;
  Launch launch = {};
  std::vector<void*> arguments = {};
};
struct CUgraph_st {
  std::deque<CUgraphNode_st> nodes;
};
struct CUgraphExec_st {
  CUgraph_st* graph;
};
struct CUstream_st {
  CUgraph_st* recording = nullptr;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point at;
};

namespace {

std::recursive_mutex working;  // one thing at a time
cudaError_t last_error = cudaSuccess, lost = cudaSuccess;

cudaError_t done(cudaError_t status = cudaSuccess) {
  if (lost != cudaSuccess) status = lost;
  if (status != cudaSuccess) last_error = status;
  return status;
}

cudaError_t lose(const Fault& fault) {
  std::fprintf(stderr, "emulated GPU: %s\n", fault.what.c_str());
  switch (fault.kind) {
    case Fault::Kind::address:
      lost = cudaErrorIllegalAddress;
      break;
    case Fault::Kind::alignment:
      lost = cudaErrorMisalignedAddress;
      break;
    case Fault::Kind::stuck:
      lost = cudaErrorLaunchTimeout;
      break;
    default:
      lost = cudaErrorLaunchFailure;
      break;
  }
  return done();
}

// Does the work, or adds it to the graph that the stream records.
cudaError_t submit(cudaStream_t stream, CUgraphNode_st node) {
  const std::lock_guard lock(working);
  if (lost != cudaSuccess) return done();
  if (stream != nullptr && stream->recording != nullptr) {
    stream->recording->nodes.push_back(std::move(node));
    return done();
  }
  try {
    node.work ? node.work() : run_launch(node.launch);
  } catch (const Fault& fault) {
    return lose(fault);
  }
  return done();
}

struct Limits {
  int multiprocessors, shared;
};
Limits limits() {
  if (capability() == 90) return {132, 227 << 10};
  if (capability() == 89) return {128, 99 << 10};
  return {108, 163 << 10};
}

cudaError_t launch(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                   cudaStream_t stream, dim3 cluster) {
  const std::lock_guard lock(working);
  Kernel* const kernel = find_kernel(function);
  if (kernel == nullptr) return done(cudaErrorInvalidDeviceFunction);
  CUgraphNode_st node;
  node.kernel = kernel;
  try {
    node.launch.code = &code_of(*kernel);
  } catch (const r1::Error& error) {
    std::fprintf(stderr, "emulated GPU: %s\n", error.what());
    return done(cudaErrorInvalidPtx);
  }
  const Code& code = *node.launch.code;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
      grid.z > 65535)
    return done(cudaErrorInvalidConfiguration);
  if (code.max_threads > 0 && threads > static_cast<uint64_t>(code.max_threads))
    return done(cudaErrorInvalidValue);
  if (shared > static_cast<size_t>(kernel->most_dynamic_shared) ||
      code.static_shared + shared > static_cast<size_t>(limits().shared))
    return done(cudaErrorInvalidValue);
  if (cluster.x == 0 || grid.x % cluster.x != 0 || grid.y % cluster.y != 0 || grid.z % cluster.z != 0)
    return done(cudaErrorInvalidClusterSize);
  node.launch.grid = {grid.x, grid.y, grid.z};
  node.launch.block = {block.x, block.y, block.z};
  node.launch.cluster = {cluster.x, cluster.y, cluster.z};
  node.launch.dynamic_shared = static_cast<uint32_t>(shared);
  node.launch.parameters.resize(code.parameter_bytes);
  for (size_t i = 0; i < code.parameters.size(); ++i)
    std::memcpy(node.launch.parameters.data() + code.parameters[i], arguments[i], code.parameter_sizes[i]);
  return submit(stream, std::move(node));
}

bool is_device(const void* at, size_t bytes) {
  uint64_t begin = 0, size = 0;
  const auto address = reinterpret_cast<uint64_t>(at);
  return find_range(address, &begin, &size) && address + bytes <= begin + size;
}

struct Configuration {
  dim3 grid, block;
  size_t shared;
  void* stream;
};
thread_local std::vector<Configuration> configurations;

std::map<void*, size_t>& allocations() {
  static auto* const all = new std::map<void*, size_t>;
  return *all;
}
// A gap follows, so that an access behind the end is found.
void* allocate(size_t bytes, int fill) {
  const std::lock_guard lock(working);
  constexpr size_t kAlign = 256;
  void* const at = std::aligned_alloc(kAlign, (bytes + kAlign) / kAlign * kAlign + kAlign);
  std::memset(at, fill, bytes);
  add_range(reinterpret_cast<uint64_t>(at), bytes);
  allocations()[at] = bytes;
  return at;
}
// Frees the memory. Returns its size, or 0 if it was not allocated here.
size_t forget(void* at) {
  const std::lock_guard lock(working);
  const auto found = allocations().find(at);
  if (found == allocations().end()) return 0;
  const size_t bytes = found->second;
  allocations().erase(found);
  remove_range(reinterpret_cast<uint64_t>(at), bytes);
  std::free(at);
  return bytes;
}

}  // namespace

extern "C" {

void** CUDARTAPI __cudaRegisterFatBinary(void* wrapper) {
  // Warps come and go; their registers should not go back to the system each time.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  struct Wrapper {
    int mark, version;
    const void* image;
    void* more;
  };
  return reinterpret_cast<void**>(add_module(static_cast<const Wrapper*>(wrapper)->image));
}
void CUDARTAPI __cudaRegisterFatBinaryEnd(void**) {}
void CUDARTAPI __cudaUnregisterFatBinary(void**) {}
void CUDARTAPI __cudaRegisterFunction(void** module, const char* host, char*, const char* name, int, uint3*,
                                      uint3*, dim3*, dim3*, int*) {
  add_kernel(reinterpret_cast<Module*>(module), host, name);
}
char CUDARTAPI __cudaInitModule(void**) {
  return 1;
}
unsigned CUDARTAPI __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
cudaError_t CUDARTAPI __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  const Configuration c = configurations.back();
  configurations.pop_back();
  *grid = c.grid, *block = c.block, *shared = c.shared;
  *static_cast<void**>(stream) = c.stream;
  return cudaSuccess;
}
cudaError_t CUDARTAPI __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(find_kernel(function));
  return *kernel != nullptr ? cudaSuccess : cudaErrorInvalidDeviceFunction;
}
cudaError_t CUDARTAPI __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                         size_t shared, cudaStream_t stream) {
  return launch(kernel, grid, block, arguments, shared, stream, {1, 1, 1});
}
cudaError_t CUDARTAPI cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                       size_t shared, cudaStream_t stream) {
  return launch(function, grid, block, arguments, shared, stream, {1, 1, 1});
}
cudaError_t CUDARTAPI cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                          void** arguments) {
  dim3 cluster{1, 1, 1};
  for (unsigned i = 0; i < config->numAttrs; ++i)
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension) {
      const auto& c = config->attrs[i].val.clusterDim;
      cluster = {c.x, c.y, c.z};
    }
  return launch(function, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes,
                config->stream, cluster);
}

cudaError_t CUDARTAPI cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = lost;
  return error;
}
cudaError_t CUDARTAPI cudaPeekAtLastError() {
  return last_error;
}
const char* CUDARTAPI cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorLaunchTimeout:
      return "cudaErrorLaunchTimeout";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorMisalignedAddress:
      return "cudaErrorMisalignedAddress";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDeviceFunction:
      return "cudaErrorInvalidDeviceFunction";
    case cudaErrorInvalidPtx:
      return "cudaErrorInvalidPtx";
    default:
      return "another error";
  }
}
const char* CUDARTAPI cudaGetErrorString(cudaError_t error) {
  return cudaGetErrorName(error);
}

// The version of CUDA that the driver claims to support, this build's unless R1_EMULATED_DRIVER says otherwise; 0: none.
cudaError_t CUDARTAPI cudaDriverGetVersion(int* version) {
  const char* const set = std::getenv("R1_EMULATED_DRIVER");
  *version = set != nullptr ? std::atoi(set) : CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDeviceCount(int* count) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  *count = 1;
  if (driver == 0) return done(cudaErrorNoDevice);
  return done(driver / 1000 < CUDART_VERSION / 1000 ? cudaErrorInsufficientDriver : cudaSuccess);
}
cudaError_t CUDARTAPI cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDeviceProperties(cudaDeviceProp* out, int) {
  *out = {};
  const Limits l = limits();
  std::snprintf(out->name, sizeof out->name, "emulated sm_%d", capability());
  out->major = capability() / 10, out->minor = capability() % 10;
  out->multiProcessorCount = l.multiprocessors;
  out->totalGlobalMem = device_bytes();
  out->sharedMemPerBlock = 48 << 10;
  out->sharedMemPerBlockOptin = static_cast<size_t>(l.shared);
  out->warpSize = 32;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const Limits l = limits();
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = l.shared;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = l.multiprocessors;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = capability() / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = capability() % 10;
      return cudaSuccess;
    default:
      *value = 0;
      return cudaSuccess;
  }
}
cudaError_t CUDARTAPI cudaDeviceSynchronize() {
  return done();
}
cudaError_t CUDARTAPI cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  Kernel* const kernel = find_kernel(function);
  if (kernel == nullptr) return done(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value > limits().shared) return done(cudaErrorInvalidValue);
    kernel->most_dynamic_shared = value;
  }
  return done();
}
cudaError_t CUDARTAPI cudaFuncGetAttributes(cudaFuncAttributes* out, const void* function) {
  *out = {};
  out->ptxVersion = out->binaryVersion = capability() >= 90 ? 90 : 80;  // what the programs contain
  return done(find_kernel(function) != nullptr ? cudaSuccess : cudaErrorInvalidDeviceFunction);
}
cudaError_t CUDARTAPI cudaFuncGetName(const char** name, const void* function) {
  const Kernel* const kernel = find_kernel(function);
  if (kernel == nullptr) return done(cudaErrorInvalidDeviceFunction);
  *name = kernel->name.c_str();
  return done();
}
cudaError_t CUDARTAPI cudaOccupancyMaxActiveClusters(int* clusters, const void*,
                                                     const cudaLaunchConfig_t* config) {
  unsigned blocks = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i)
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension) {
      const auto& c = config->attrs[i].val.clusterDim;
      blocks = c.x * c.y * c.z;
    }
  *clusters = limits().multiprocessors / static_cast<int>(blocks);
  return done();
}
cudaError_t CUDARTAPI cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                                       unsigned long long,
                                                       cudaDriverEntryPointQueryResult* result) {
  *function = find_driver_function(name);
  if (result != nullptr)
    *result = *function != nullptr ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return done();
}

cudaError_t CUDARTAPI cudaMalloc(void** at, size_t bytes) {
  const std::lock_guard lock(working);
  if (!take_bytes(bytes)) return done(cudaErrorMemoryAllocation);
  *at = allocate(bytes, 0xFF);
  return done();
}
cudaError_t CUDARTAPI cudaFree(void* at) {
  const std::lock_guard lock(working);
  if (at == nullptr) return done();
  const size_t bytes = forget(at);
  if (bytes == 0) return done(cudaErrorInvalidValue);
  give_bytes(bytes);
  return done();
}
cudaError_t CUDARTAPI cudaHostAlloc(void** at, size_t bytes, unsigned) {
  *at = allocate(bytes, 0);
  return done();
}
cudaError_t CUDARTAPI cudaMallocHost(void** at, size_t bytes) {
  return cudaHostAlloc(at, bytes, 0);
}
cudaError_t CUDARTAPI cudaFreeHost(void* at) {
  forget(at);
  return done();
}
cudaError_t CUDARTAPI cudaMemGetInfo(size_t* free, size_t* total) {
  *free = free_bytes();
  *total = device_bytes();
  return done();
}
cudaError_t CUDARTAPI cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                      cudaStream_t stream) {
  if (((kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) && !is_device(to, bytes)) ||
      ((kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice) && !is_device(from, bytes)))
    return done(cudaErrorInvalidValue);
  return submit(stream, {.work = [to, from, bytes] { std::memmove(to, from, bytes); }});
}
cudaError_t CUDARTAPI cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t CUDARTAPI cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  if (bytes > 0 && !is_device(at, bytes)) return done(cudaErrorInvalidValue);
  return submit(stream, {.work = [at, value, bytes] { std::memset(at, value, bytes); }});
}
cudaError_t CUDARTAPI cudaMemset(void* at, int value, size_t bytes) {
  return cudaMemsetAsync(at, value, bytes, nullptr);
}

cudaError_t CUDARTAPI cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st;
  return done();
}
cudaError_t CUDARTAPI cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return done();
}
cudaError_t CUDARTAPI cudaStreamSynchronize(cudaStream_t) {
  return done();
}
cudaError_t CUDARTAPI cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return done();
}
cudaError_t CUDARTAPI cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return done();
}
cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->at = std::chrono::steady_clock::now();
  return done();
}
cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t) {
  return done();
}
cudaError_t CUDARTAPI cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = std::max(1e-6f, std::chrono::duration<float, std::milli>(end->at - begin->at).count());
  return done();
}

cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->recording = new CUgraph_st;
  return done();
}
cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->recording;
  stream->recording = nullptr;
  return done();
}
cudaError_t CUDARTAPI cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph};
  return done();
}
cudaError_t CUDARTAPI cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const CUgraphNode_st& node : exec->graph->nodes)
    if (const cudaError_t status = submit(stream, node); status != cudaSuccess) return status;
  return done();
}
cudaError_t CUDARTAPI cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return done();
}
cudaError_t CUDARTAPI cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return done();
}
cudaError_t CUDARTAPI cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (nodes != nullptr)
    for (size_t i = 0; i < *count; ++i) nodes[i] = &graph->nodes[i];
  *count = graph->nodes.size();
  return done();
}
cudaError_t CUDARTAPI cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->kernel != nullptr ? cudaGraphNodeTypeKernel : cudaGraphNodeTypeMemcpy;
  return done();
}
cudaError_t CUDARTAPI cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams* out) {
  *out = {};
  out->func = const_cast<void*>(node->kernel->host);
  out->gridDim = {node->launch.grid.x, node->launch.grid.y, node->launch.grid.z};
  out->blockDim = {node->launch.block.x, node->launch.block.y, node->launch.block.z};
  out->sharedMemBytes = node->launch.dynamic_shared;
  node->arguments.clear();
  for (const size_t at : node->launch.code->parameters)
    node->arguments.push_back(node->launch.parameters.data() + at);
  out->kernelParams = node->arguments.data();
  return done();
}
cudaError_t CUDARTAPI cudaGraphKernelNodeGetAttribute(cudaGraphNode_t node, cudaLaunchAttributeID,
                                                      cudaLaunchAttributeValue* value) {
  *value = {};
  value->clusterDim = {node->launch.cluster.x, node->launch.cluster.y, node->launch.cluster.z};
  return done();
}

}  // extern "C"
