#include "tensor/memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/machine.h"
#include "tensor/work_stream.h"
#if defined(R1_CUDA)
#include "tensor/cuda.h"
#endif

namespace r1 {
namespace {

constexpr size_t kBlockAlign = 64;

void* map(size_t bytes, int flags) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  ::madvise(at, bytes, MADV_HUGEPAGE);  // fewer waits for the TLB; only a hint
  return at;
}

class HostMemory final : public Memory {
 public:
  Device device() const override { return Device::cpu; }
  // The system provides pages on first touch, so nothing is left to commit.
  void* reserve(size_t bytes) override { return map(bytes, MAP_NORESERVE); }
  void commit(void*, size_t) override {}
  void release(void* base, size_t reserved) override { ::munmap(base, reserved); }

  void* allocate(size_t bytes) override {
    // Large blocks are the system's zero pages: zeroing gigabytes that are then overwritten takes seconds.
    void* at = bytes >= kMapped ? map(bytes, 0) : std::aligned_alloc(kBlockAlign, whole_lines(bytes));
    if (at == nullptr) throw Error("out of memory: " + std::to_string(bytes) + " bytes" + ulimit_advice());
    if (bytes < kMapped) std::memset(at, 0, bytes);
    return at;
  }
  void free(void* at, size_t bytes) override {
    if (bytes >= kMapped) {
      ::munmap(at, bytes);
    } else {
      std::free(at);
    }
  }

  void write(void* to, const void* host, size_t bytes, void*) override { move(to, host, bytes); }
  void read(void* host, const void* from, size_t bytes, void*) override { move(host, from, bytes); }
  void copy(void* to, const void* from, size_t bytes, void*) override { move(to, from, bytes); }
  void zero(void* at, size_t bytes, void*) override {
    if (bytes > 0) std::memset(at, 0, bytes);
  }

  size_t free_bytes() const override {
    const int64_t free = memory_facts().available, group = cgroup_limits().memory;
    return static_cast<size_t>(group > 0 && (free == 0 || group < free) ? group : free);
  }

 private:
  // If there are no bytes, either address may be null.
  static void move(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  static constexpr size_t kMapped = size_t{1} << 20;
  static size_t whole_lines(size_t bytes) { return (bytes + kBlockAlign - 1) / kBlockAlign * kBlockAlign; }
};

// No program can map these, so a read of one ends the program at once. They may be handed out again after
// 2^62 bytes; nobody minds, since nothing lies there.
void* address_without_memory(size_t bytes) {
  constexpr uint64_t kFirst = uint64_t{1} << 62, kSpan = uint64_t{1} << 62;
  static std::atomic<uint64_t> next{0};
  const uint64_t size = (static_cast<uint64_t>(bytes) / kBlockAlign + 1) * kBlockAlign;
  return reinterpret_cast<void*>(kFirst + next.fetch_add(size) % kSpan);  // NOLINT: never read
}

}  // namespace

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

Memory& memory_of(Device device) {
  if (device == Device::cpu) return host_memory();
#if defined(R1_CUDA)
  return cuda_memory();
#else
  throw Error("this r1 was built without CUDA: use the device cpu, or build it where nvcc is installed");
#endif
}

void* work_stream([[maybe_unused]] const Memory& memory) {
#if defined(R1_CUDA)
  if (memory.device() == Device::cuda) return cuda::work_stream();
#endif
  return nullptr;
}

void* NoMemory::reserve(size_t bytes) {
  return address_without_memory(bytes);
}

void* NoMemory::allocate(size_t bytes) {
  allocated_ += bytes;
  return address_without_memory(bytes);
}

}  // namespace r1
