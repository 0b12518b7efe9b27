// tensor/cuda.cu: the CUDA device's memory, streams and errors.
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/cuda.h"
#include "tensor/cuda_times.h"
#include "tensor/gpu.h"
#include "tensor/work_stream.h"

namespace r1 {
namespace cuda {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string mebibytes(size_t bytes) {
  return std::to_string((bytes + (size_t{1} << 20) - 1) >> 20) + " MiB";
}

__global__ void probe() {}

struct UsableDevice {
  cudaDeviceProp properties{};
  // The instructions that the kernels were compiled for, 80 or 90: the driver may have made them of PTX for an older card.
  int instructions = 0;
};

// Device 0, or an Error that says why it cannot be used.
UsableDevice find_device() {
  int driver = 0, count = 0;
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();  // or the next launch would report it
  if (!has_driver) throw Error("no CUDA device: no NVIDIA driver is installed; use --device cpu");
  if (status == cudaErrorInsufficientDriver)
    throw Error("the NVIDIA driver is too old: it supports CUDA " + version_text(driver) +
                ", this build needs " + version_text(CUDART_VERSION) +
                "; update the driver or use --device cpu");
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    throw Error("no CUDA device was found (CUDA_VISIBLE_DEVICES may hide it); use --device cpu");
  check(status, "cudaGetDeviceCount");
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  if (device.major < 8)
    throw Error(std::string(device.name) + " has compute capability " + std::to_string(device.major) + "." +
                std::to_string(device.minor) + "; 8.0 or newer is needed; use --device cpu");
  cudaFuncAttributes kernel{};
  if (cudaFuncGetAttributes(&kernel, probe) != cudaSuccess) {
    cudaGetLastError();
    const std::string architecture = std::to_string(device.major) + std::to_string(device.minor);
    throw Error("this build has no kernels for " + std::string(device.name) + ": build it again with " +
                "-DR1_CUDA_ARCHITECTURES=" + architecture + ", or use --device cpu");
  }
  return {device, kernel.ptxVersion};
}

const UsableDevice& usable_device() {
  static const UsableDevice found = find_device();
  return found;
}
const cudaDeviceProp& device() {
  return usable_device().properties;
}

}  // namespace

DeviceFacts device_facts() {
  const cudaDeviceProp& found = device();
  DeviceFacts facts{.name = found.name,
                    .major = found.major,
                    .minor = found.minor,
                    .multiprocessors = found.multiProcessorCount,
                    .bytes = found.totalGlobalMem};
  size_t total = 0;
  check(cudaMemGetInfo(&facts.free, &total), "cudaMemGetInfo");
  check(cudaDriverGetVersion(&facts.driver), "cudaDriverGetVersion");
  return facts;
}

bool no_device() {
  int driver = 0, count = 0;
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  return !has_driver || status == cudaErrorNoDevice || (status == cudaSuccess && count == 0);
}

int multiprocessors() {
  return device().multiProcessorCount;
}

bool starts_early() {
  return usable_device().instructions >= 90;
}

namespace {

// True if no further call can succeed in this process.
bool device_is_lost(cudaError_t error) {
  constexpr cudaError_t kLost[] = {cudaErrorIllegalAddress,      cudaErrorLaunchFailure,
                                   cudaErrorLaunchTimeout,       cudaErrorECCUncorrectable,
                                   cudaErrorHardwareStackError,  cudaErrorIllegalInstruction,
                                   cudaErrorMisalignedAddress,   cudaErrorInvalidAddressSpace,
                                   cudaErrorInvalidPc,           cudaErrorAssert,
                                   cudaErrorNvlinkUncorrectable, cudaErrorDevicesUnavailable,
                                   cudaErrorContextIsDestroyed,  cudaErrorUnknown};
  return std::find(std::begin(kLost), std::end(kLost), error) != std::end(kLost);
}

}  // namespace

void check(int status, const char* call) {
  if (status == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(status);
  const std::string what =
      std::string(call) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
  if (!device_is_lost(error)) throw Error("CUDA: " + what);
  throw Error("the GPU stopped working in " + what +
              "; start again (a training goes on from its last checkpoint with --resume)");
}

void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
  note_launch(kernel);
}

Stream::Stream() {
  device();
  cudaStream_t made = nullptr;
  check(cudaStreamCreate(&made), "cudaStreamCreate");  // one that copies without a stream wait for
  stream_ = made;
}
Stream::~Stream() {
  cudaStreamDestroy(static_cast<cudaStream_t>(stream_));
}
void Stream::wait() const {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream_)), "cudaStreamSynchronize");
}

void* work_stream() {
  static cudaStream_t const stream = [] {
    device();
    cudaStream_t made = nullptr;
    check(cudaStreamCreate(&made), "cudaStreamCreate");  // one that the default stream waits for
    return made;
  }();
  return stream;
}

namespace {

// Functions of the driver, found at run time: a program linked against libcuda would not start without one.
struct Driver {
  decltype(&cuMemAddressReserve) reserve;
  decltype(&cuMemAddressFree) free_addresses;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
  decltype(&cuMemGetAllocationGranularity) granularity;
};

template <class Function>
void find_function(const char* name, Function* function) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  check(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result), name);
  if (found == nullptr) throw Error(std::string("the NVIDIA driver has no ") + name + ": update the driver");
  *function = reinterpret_cast<Function>(found);
}

Driver find_driver() {
  device();
  check(cudaFree(nullptr), "cudaFree");  // makes the device's context
  Driver d{};
  find_function("cuMemAddressReserve", &d.reserve);
  find_function("cuMemAddressFree", &d.free_addresses);
  find_function("cuMemCreate", &d.create);
  find_function("cuMemRelease", &d.release);
  find_function("cuMemMap", &d.map);
  find_function("cuMemUnmap", &d.unmap);
  find_function("cuMemSetAccess", &d.set_access);
  find_function("cuMemGetAllocationGranularity", &d.granularity);
  return d;
}

[[noreturn]] void throw_out_of_memory(size_t bytes) {
  cudaGetLastError();
  const DeviceFacts facts = device_facts();
  throw Error("out of GPU memory: " + mebibytes(bytes) + " more are needed, " + mebibytes(facts.free) +
              " of " + facts.name + "'s " + mebibytes(facts.bytes) +
              " are free; lower the batch or close other programs");
}

void check_driver(CUresult status, const char* call) {
  if (status != CUDA_SUCCESS)
    throw Error(std::string("CUDA: ") + call + " failed with code " +
                std::to_string(static_cast<int>(status)));
}

class CudaMemory final : public Memory {
 public:
  CudaMemory() : driver_(find_driver()) {
    what_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    what_.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
    check_driver(driver_.granularity(&granularity_, &what_, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
                 "cuMemGetAllocationGranularity");
    piece_ = whole(kCudaPiece);
  }
  Device device() const override { return Device::cuda; }

  void* reserve(size_t bytes) override {
    CUdeviceptr at = 0;
    if (driver_.reserve(&at, whole(bytes), 0, 0, 0) != CUDA_SUCCESS) return nullptr;
    const std::lock_guard lock(mutex_);
    ranges_[at] = {};
    return reinterpret_cast<void*>(at);  // NOLINT: an address of the device
  }

  void commit(void* base, size_t bytes) override {
    const std::lock_guard lock(mutex_);
    const CUdeviceptr at = address(base);
    const auto found = ranges_.find(at);
    R1_CHECK(found != ranges_.end(), "commit of memory that was not reserved");
    Range& range = found->second;
    if (bytes <= range.committed) return;
    // A quarter more than was there, so that a growing arena maps few pieces; or just enough, if that is all.
    const size_t least = whole(bytes - range.committed);
    const size_t wanted = std::max(least, (range.committed / 4 + piece_ - 1) / piece_ * piece_);
    if (!grow(at, range, wanted) && (wanted == least || !grow(at, range, least))) throw_out_of_memory(least);
  }

  void release(void* base, size_t reserved) override {
    const std::lock_guard lock(mutex_);
    const CUdeviceptr at = address(base);
    const auto found = ranges_.find(at);
    if (found == ranges_.end()) return;
    cudaDeviceSynchronize();  // kernels may still read it
    CUdeviceptr piece = at;
    for (const Piece& p : found->second.pieces) {
      driver_.unmap(piece, p.bytes);
      driver_.release(p.handle);
      piece += p.bytes;
    }
    driver_.free_addresses(at, whole(reserved));
    ranges_.erase(found);
  }

  void* allocate(size_t bytes) override {
    void* at = nullptr;
    const cudaError_t status = cudaMalloc(&at, std::max<size_t>(bytes, 1));
    if (status == cudaErrorMemoryAllocation) throw_out_of_memory(bytes);
    cuda::check(status, "cudaMalloc");
    cuda::check(cudaMemset(at, 0, bytes), "cudaMemset");
    cuda::check(cudaStreamSynchronize(nullptr),
                "cudaMemset");  // other streams do not wait for the default one
    return at;
  }
  void free(void* at, size_t) override { cudaFree(at); }

  void write(void* to, const void* host, size_t bytes, void* stream) override {
    if (bytes == 0) return;
    if (stream != nullptr && bytes <= kMostStaged) {
      for (size_t at = 0; at < bytes; at += kStagePiece)
        staged(static_cast<std::byte*>(to) + at, static_cast<const std::byte*>(host) + at,
               std::min(kStagePiece, bytes - at), stream);
      return;
    }
    transfer(to, host, bytes, cudaMemcpyHostToDevice, stream);
    wait(stream);
  }
  void read(void* host, const void* from, size_t bytes, void* stream) override {
    transfer(host, from, bytes, cudaMemcpyDeviceToHost, stream);
    wait(stream);
  }
  void copy(void* to, const void* from, size_t bytes, void* stream) override {
    transfer(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
  }
  void zero(void* at, size_t bytes, void* stream) override {
    if (bytes > 0)
      cuda::check(cudaMemsetAsync(at, 0, bytes, static_cast<cudaStream_t>(stream)), "cudaMemset");
  }
  size_t free_bytes() const override { return device_facts().free; }

 private:
  struct Piece {
    CUmemGenericAllocationHandle handle;
    size_t bytes;
  };
  struct Range {
    size_t committed = 0;
    std::vector<Piece> pieces;
  };

  // Writes that are not large go through pinned memory, which the device reads when the stream gets there, so that they
  // wait for nothing. A piece is used again when its last copy is done. The lists of a layer's backward with 32,768
  // tokens take half a megabyte and some twenty pieces.
  static constexpr size_t kStagePiece = size_t{256} << 10;
  static constexpr size_t kStagePieces = 64;
  static constexpr size_t kMostStaged = kStagePiece * kStagePieces / 4;
  void staged(void* to, const void* host, size_t bytes, void* stream) {
    const std::lock_guard lock(staging_);
    if (stage_ == nullptr) {
      cuda::check(cudaMallocHost(&stage_, kStagePiece * kStagePieces), "cudaMallocHost");
      for (cudaEvent_t& done : stage_done_)
        cuda::check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "cudaEventCreate");
    }
    const size_t piece = stage_next_++ % kStagePieces;
    cuda::check(cudaEventSynchronize(stage_done_[piece]), "cudaEventSynchronize");
    auto* at = static_cast<std::byte*>(stage_) + piece * kStagePiece;
    std::memcpy(at, host, bytes);
    transfer(to, at, bytes, cudaMemcpyHostToDevice, stream);
    cuda::check(cudaEventRecord(stage_done_[piece], static_cast<cudaStream_t>(stream)), "cudaEventRecord");
  }

  static CUdeviceptr address(void* base) { return reinterpret_cast<CUdeviceptr>(base); }
  size_t whole(size_t bytes) const { return (bytes + granularity_ - 1) / granularity_ * granularity_; }

  // Maps `bytes` more behind the range. Returns false if the device has too little memory.
  bool grow(CUdeviceptr at, Range& range, size_t bytes) {
    Piece piece{.handle = 0, .bytes = bytes};
    const CUresult made = driver_.create(&piece.handle, bytes, &what_, 0);
    if (made == CUDA_ERROR_OUT_OF_MEMORY) return false;
    check_driver(made, "cuMemCreate");
    const CUmemAccessDesc access{.location = what_.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    const CUdeviceptr end = at + range.committed;
    CUresult status = driver_.map(end, bytes, 0, piece.handle, 0);
    if (status == CUDA_SUCCESS && (status = driver_.set_access(end, bytes, &access, 1)) != CUDA_SUCCESS)
      driver_.unmap(end, bytes);
    if (status != CUDA_SUCCESS) driver_.release(piece.handle);
    if (status == CUDA_ERROR_OUT_OF_MEMORY) return false;
    check_driver(status, "cuMemMap");
    range.pieces.push_back(piece);
    range.committed += bytes;
    return true;
  }

  static void transfer(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, void* stream) {
    if (bytes > 0)
      cuda::check(cudaMemcpyAsync(to, from, bytes, kind, static_cast<cudaStream_t>(stream)), "cudaMemcpy");
  }
  static void wait(void* stream) {
    cuda::check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
  }

  Driver driver_;
  CUmemAllocationProp what_{};
  size_t granularity_ = 0, piece_ = 0;
  std::mutex mutex_;
  std::map<CUdeviceptr, Range> ranges_;
  std::mutex staging_;
  void* stage_ = nullptr;
  size_t stage_next_ = 0;
  std::array<cudaEvent_t, kStagePieces> stage_done_{};
};

}  // namespace
}  // namespace cuda

Memory& cuda_memory() {
  static cuda::CudaMemory* memory = new cuda::CudaMemory;  // outlives every static that holds memory of it
  return *memory;
}

}  // namespace r1
