#include "server/stop_strings.h"

#include <algorithm>
#include <utility>

namespace r1 {

std::string StopStrings::feed(std::string_view text) {
  if (found()) return {};
  held_ += text;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t its_end = at + stop.size();
    if (found() && (its_end > end || (its_end == end && stop.size() <= found_->size()))) continue;
    found_ = &stop;
    end = its_end;
  }
  if (found()) {
    held_.resize(end - found_->size());
    return std::exchange(held_, {});
  }
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t size = std::min(held_.size(), stop.size() - 1); size > keep; --size) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size))) {
        keep = size;
        break;
      }
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopStrings::flush() {
  return std::exchange(held_, {});
}

}  // namespace r1
