#include "base/process.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace r1 {
namespace {

// "VmHWM:     1234 kB" -> bytes.
int64_t status_field(const std::string& name) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(name)) continue;
    int64_t kib = 0;
    for (const char c : line) {
      if (c >= '0' && c <= '9') kib = kib * 10 + (c - '0');
    }
    return kib * 1024;
  }
  return 0;
}

}  // namespace

int64_t resident_bytes() {
  return status_field("VmRSS:");
}

int64_t peak_resident_bytes() {
  return status_field("VmHWM:");
}

void reset_peak_resident() noexcept {
  const int file = ::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file, "5", 1);
  ::close(file);
}

}  // namespace r1
