// base/machine.h: facts about the machine, from the system (Linux: /proc and /sys).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace r1 {

struct CpuFacts {
  std::string model;  // "unknown" if the system does not name it
  int64_t online = 0;
  std::vector<std::string> features;  // the ones r1 can use, by the kernel's names: avx2, avx512_bf16, ...
};
CpuFacts cpu_facts();

// In bytes; 0 means unknown.
struct MemoryFacts {
  int64_t total = 0, available = 0;
};
MemoryFacts memory_facts();

// Bytes of address space that the process may use (ulimit -v); 0 means no limit.
int64_t address_space_limit();
// ": the address space of this process is limited to N MiB (ulimit -v) ...", to append to a message about
// memory; "" if it is not.
std::string ulimit_advice();

// The limits that control groups set for this process; 0 means no limit.
struct CgroupLimits {
  double cpus = 0;
  int64_t memory = 0;
};
// Reads control groups of versions 1 and 2. A group's limit is the tightest one of it and all groups above
// it. `self` has the form of /proc/self/cgroup.
CgroupLimits cgroup_limits(const std::filesystem::path& self = "/proc/self/cgroup",
                           const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace r1
