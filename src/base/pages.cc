#include "base/pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace r1 {
namespace {

// Calls madvise for the pages that lie in the block as a whole.
void advise(void* at, size_t bytes, int advice) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(at) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(at) + bytes) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);  // NOLINT
}

}  // namespace

void use_small_pages(void* at, size_t bytes) {
  advise(at, bytes, MADV_NOHUGEPAGE);
}

void allow_huge_pages(void* at, size_t bytes) {
  advise(at, bytes, MADV_HUGEPAGE);
}

void provide_pages(void* at, size_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  advise(at, bytes, MADV_POPULATE_WRITE);
#else
  constexpr int kPopulateWrite = 23;  // Linux 5.14
  advise(at, bytes, kPopulateWrite);
#endif
}

}  // namespace r1
