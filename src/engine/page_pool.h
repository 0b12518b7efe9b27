// engine/page_pool.h: tracks the owners of KV pages. It does not touch memory or devices.
#pragma once

#include <cstdint>
#include <vector>

namespace r1 {

// Pages are reference-counted: sequences share pages with each other and with the prefix tree.
class PagePool {
 public:
  explicit PagePool(int64_t pages) { grow(pages); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t size() const { return static_cast<int64_t>(references_.size()); }
  // Every page that was ever taken has a lower number than this.
  int64_t taken() const { return taken_; }
  int32_t take();  // one reference; there must be a free page. The lowest-numbered is not promised: bits
                   // never depend on it
  void share(int32_t page);
  void drop(int32_t page);
  // Adds free pages, up to `pages` in all. They are taken after those that were free before.
  void grow(int64_t pages);

 private:
  std::vector<int32_t> free_;
  std::vector<int32_t> references_;
  int64_t taken_ = 0;
};

}  // namespace r1
