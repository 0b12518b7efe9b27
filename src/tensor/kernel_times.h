// tensor/kernel_times.h: where the time of a device goes, by kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tensor/memory.h"

namespace r1 {

// All launches of one name, which is what check_launch() was given.
struct KernelTime {
  std::string kernel;
  double seconds = 0;
  int64_t launches = 0;
};

// Runs `work`, whose kernels this thread launches on the work stream of `memory`, and returns their times, the
// largest first. A launch's time goes from the end of the launch before it to its own end, so copies and waits count
// with the kernel behind them. Returns nothing on the host. Throws what `work` throws.
std::vector<KernelTime> time_kernels(const Memory& memory, const std::function<void()>& work);

}  // namespace r1
