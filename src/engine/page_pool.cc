#include "engine/page_pool.h"

#include <algorithm>

#include "base/error.h"

namespace r1 {

void PagePool::grow(int64_t pages) {
  R1_CHECK(pages >= size(), "a pool of ", size(), " pages cannot shrink to ", pages);
  std::vector<int32_t> fresh;
  for (int64_t p = pages; p > size(); --p) fresh.push_back(static_cast<int32_t>(p - 1));
  free_.insert(free_.begin(), fresh.begin(), fresh.end());
  references_.resize(static_cast<size_t>(pages), 0);
}

int32_t PagePool::take() {
  R1_CHECK(!free_.empty(), "no free page of ", size());
  const int32_t page = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  taken_ = std::max<int64_t>(taken_, page + 1);
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
