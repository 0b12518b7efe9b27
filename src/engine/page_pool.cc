#include "engine/page_pool.h"

#include "base/error.h"

namespace r1 {

PagePool::PagePool(int64_t pages) : references_(static_cast<size_t>(pages), 0) {
  for (int64_t p = pages; p > 0; --p) free_.push_back(static_cast<int32_t>(p - 1));
}

int32_t PagePool::take() {
  R1_CHECK(!free_.empty(), "no free page of ", size());
  const int32_t page = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::share(int32_t page) {
  R1_CHECK(references_[static_cast<size_t>(page)] > 0, "page ", page, " is free");
  ++references_[static_cast<size_t>(page)];
}

void PagePool::drop(int32_t page) {
  int32_t& count = references_[static_cast<size_t>(page)];
  R1_CHECK(count > 0, "page ", page, " is free");
  if (--count == 0) free_.push_back(page);
}

}  // namespace r1
