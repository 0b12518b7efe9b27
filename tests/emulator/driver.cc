// tests/emulator/driver.cc: virtual memory of the emulated device, and maps of matrices.
#include "tests/emulator/driver.h"

#include <cuda.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "tests/emulator/memory.h"
#include "tests/emulator/tensor_map.h"

namespace r1::emulator {
namespace {

std::atomic<size_t> used{0};

CUresult reserve(CUdeviceptr* at, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
  void* const got = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  *at = reinterpret_cast<CUdeviceptr>(got);
  return CUDA_SUCCESS;
}
CUresult free_addresses(CUdeviceptr at, size_t bytes) {
  munmap(reinterpret_cast<void*>(at), bytes);
  return CUDA_SUCCESS;
}
// A handle is the number of bytes.
CUresult create(CUmemGenericAllocationHandle* handle, size_t bytes, const CUmemAllocationProp*,
                unsigned long long) {
  if (!take_bytes(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  *handle = bytes;
  return CUDA_SUCCESS;
}
CUresult release(CUmemGenericAllocationHandle handle) {
  give_bytes(handle);
  return CUDA_SUCCESS;
}
CUresult map(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long) {
  return CUDA_SUCCESS;
}
CUresult unmap(CUdeviceptr at, size_t bytes) {
  remove_range(at, bytes);
  mmap(reinterpret_cast<void*>(at), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
       -1, 0);
  return CUDA_SUCCESS;
}
CUresult set_access(CUdeviceptr at, size_t bytes, const CUmemAccessDesc*, size_t) {
  mprotect(reinterpret_cast<void*>(at), bytes, PROT_READ | PROT_WRITE);
  add_range(at, bytes);
  return CUDA_SUCCESS;
}
CUresult granularity(size_t* bytes, const CUmemAllocationProp*, CUmemAllocationGranularity_flags) {
  *bytes = size_t{2} << 20;
  return CUDA_SUCCESS;
}

CUresult encode_tiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t dimensions, void* data,
                      const cuuint64_t* size, const cuuint64_t* stride, const cuuint32_t* box,
                      const cuuint32_t* apart, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                      CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  TensorMap map{};
  map.mark = TensorMap::kMark;
  map.element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16  ? 2
                      : type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4
                                                                : 0;
  map.dimensions = dimensions;
  map.swizzled = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  map.data = reinterpret_cast<uint64_t>(data);
  if (map.element_bytes == 0 || dimensions < 2 || dimensions > 3 || map.data % 16 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  for (uint32_t d = 0; d < dimensions; ++d) {
    map.size[d] = size[d];
    map.box[d] = box[d];
    if (box[d] == 0 || box[d] > 256 || apart[d] != 1 || size[d] == 0) return CUDA_ERROR_INVALID_VALUE;
    if (d + 1 < dimensions) map.stride[d] = stride[d];
    if (d + 1 < dimensions && stride[d] % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  }
  if (box[0] * map.element_bytes % 16 != 0 || (map.swizzled && box[0] * map.element_bytes > 128))
    return CUDA_ERROR_INVALID_VALUE;
  static_assert(sizeof map <= sizeof *out);
  std::memcpy(out, &map, sizeof map);
  return CUDA_SUCCESS;
}

struct Entry {
  const char* name;
  void* function;
};

}  // namespace

void* find_driver_function(const char* name) {
  const Entry entries[] = {{"cuMemAddressReserve", reinterpret_cast<void*>(&reserve)},
                           {"cuMemAddressFree", reinterpret_cast<void*>(&free_addresses)},
                           {"cuMemCreate", reinterpret_cast<void*>(&create)},
                           {"cuMemRelease", reinterpret_cast<void*>(&release)},
                           {"cuMemMap", reinterpret_cast<void*>(&map)},
                           {"cuMemUnmap", reinterpret_cast<void*>(&unmap)},
                           {"cuMemSetAccess", reinterpret_cast<void*>(&set_access)},
                           {"cuMemGetAllocationGranularity", reinterpret_cast<void*>(&granularity)},
                           {"cuTensorMapEncodeTiled", reinterpret_cast<void*>(&encode_tiled)}};
  for (const Entry& entry : entries)
    if (std::strcmp(name, entry.name) == 0) return entry.function;
  return nullptr;
}

size_t device_bytes() {
  static const size_t bytes = [] {
    const char* const set = std::getenv("R1_EMULATED_MIB");
    return set != nullptr ? static_cast<size_t>(std::atoll(set)) << 20 : size_t{6} << 30;
  }();
  return bytes;
}
bool take_bytes(size_t bytes) {
  if (used + bytes > device_bytes()) return false;
  used += bytes;
  return true;
}
void give_bytes(size_t bytes) {
  used -= bytes;
}
size_t free_bytes() {
  return device_bytes() - used;
}

}  // namespace r1::emulator
