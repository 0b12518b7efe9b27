// tests/emulator/memory.cc: the ranges of the emulated device's memory.
#include "tests/emulator/memory.h"

#include <map>
#include <mutex>

namespace r1::emulator {
namespace {

std::mutex mutex;
std::map<uint64_t, uint64_t>& ranges() {
  static auto* const all =
      new std::map<uint64_t, uint64_t>;  // used until the last object of the program is gone
  return *all;
}

}  // namespace

std::atomic<uint32_t> range_removals{0};

void add_range(uint64_t begin, uint64_t bytes) {
  const std::lock_guard lock(mutex);
  auto& all = ranges();
  uint64_t end = begin + bytes;
  if (const auto next = all.find(end); next != all.end()) {
    end += next->second;
    all.erase(next);
  }
  auto before = all.lower_bound(begin);
  if (before != all.begin() && (--before)->first + before->second == begin)
    before->second = end - before->first;
  else
    all[begin] = end - begin;
}
void remove_range(uint64_t begin, uint64_t bytes) {
  const std::lock_guard lock(mutex);
  ++range_removals;
  auto& all = ranges();
  auto found = all.upper_bound(begin);
  if (found == all.begin()) return;
  --found;
  const uint64_t first = found->first, end = first + found->second;
  all.erase(found);
  if (first < begin) all[first] = begin - first;
  if (begin + bytes < end) all[begin + bytes] = end - begin - bytes;
}
bool find_range(uint64_t address, uint64_t* begin, uint64_t* bytes) {
  const std::lock_guard lock(mutex);
  auto found = ranges().upper_bound(address);
  if (found == ranges().begin()) return false;
  --found;
  if (address >= found->first + found->second) return false;
  *begin = found->first;
  *bytes = found->second;
  return true;
}

}  // namespace r1::emulator
