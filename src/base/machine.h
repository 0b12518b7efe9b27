// base/machine.h: what the system says of the machine (Linux: /proc and /sys).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace r1 {

struct CpuFacts {
  std::string model;  // "unknown" where the system does not say
  int64_t online = 0;
  std::vector<std::string> features;  // those that matter here, by the kernel's names: avx2, avx512_bf16, ...
};
CpuFacts cpu_facts();

// Bytes; 0: not known.
struct MemoryFacts {
  int64_t total = 0, available = 0;
};
MemoryFacts memory_facts();

// Bytes of address space that the process may have (ulimit -v); 0: no limit.
int64_t address_space_limit();
// ": the address space of this process is limited to N MiB (ulimit -v) ...", to be joined to a message about memory; ""
// without such a limit.
std::string ulimit_advice();

// What control groups allow this process; 0: no bound.
struct CgroupLimits {
  double cpus = 0;
  int64_t memory = 0;
};
// Version 1 and 2; a group's bound is that of the tightest group above it. `self` is /proc/self/cgroup's
// form.
CgroupLimits cgroup_limits(const std::filesystem::path& self = "/proc/self/cgroup",
                           const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace r1
