#include "base/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

namespace r1 {
namespace fs = std::filesystem;

namespace {

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// "MemTotal:    24683980 kB" -> bytes
int64_t kib_of(const std::string& line) {
  std::istringstream in(line.substr(line.find(':') + 1));
  int64_t kib = 0;
  in >> kib;
  return kib * 1024;
}

std::optional<int64_t> whole_number(const std::string& text) {
  std::istringstream in(text);
  int64_t value = 0;
  if (!(in >> value)) return std::nullopt;  // "max"
  return value;
}

template <class T>
void tighten(T& bound, T value) {
  if (value > 0 && (bound == 0 || value < bound)) bound = value;
}

// Version 1 reports "no limit" as a number near 2^63.
constexpr int64_t kNoBound = int64_t{1} << 60;

void read_group(const fs::path& folder, CgroupLimits& limits) {
  for (const char* name : {"memory.max", "memory.limit_in_bytes"}) {
    const auto bytes = whole_number(first_line(folder / name));
    if (bytes && *bytes < kNoBound) tighten(limits.memory, *bytes);
  }
  std::istringstream both(first_line(folder / "cpu.max"));  // "150000 100000", "max 100000"
  double quota = 0, period = 0;
  if (both >> quota >> period && period > 0) tighten(limits.cpus, quota / period);
  const auto old_quota = whole_number(first_line(folder / "cpu.cfs_quota_us"));
  const auto old_period = whole_number(first_line(folder / "cpu.cfs_period_us"));
  if (old_quota && old_period && *old_quota > 0 && *old_period > 0)
    tighten(limits.cpus, static_cast<double>(*old_quota) / static_cast<double>(*old_period));
}

}  // namespace

CpuFacts cpu_facts() {
  static const std::vector<std::string> kFeatures = {
      "avx2",  "fma",     "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile",    "amx_bf16", "amx_int8",
      "asimd", "asimddp", "bf16",    "i8mm",        "sve",         "avx512_fp16", "avx_vnni"};
  CpuFacts facts{.model = "unknown", .online = ::sysconf(_SC_NPROCESSORS_ONLN), .features = {}};
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const std::string value = line.find(": ") == std::string::npos ? "" : line.substr(line.find(": ") + 2);
    if (line.starts_with("model name") && facts.model == "unknown") facts.model = value;
    if ((!line.starts_with("flags") && !line.starts_with("Features")) || !facts.features.empty()) continue;
    std::istringstream words(value);
    for (std::string word; words >> word;) {
      if (std::ranges::find(kFeatures, word) != kFeatures.end()) facts.features.push_back(word);
    }
  }
  return facts;
}

MemoryFacts memory_facts() {
  MemoryFacts facts;
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("MemTotal:")) facts.total = kib_of(line);
    if (line.starts_with("MemAvailable:")) facts.available = kib_of(line);
  }
  return facts;
}

int64_t address_space_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return 0;
  return static_cast<int64_t>(limit.rlim_cur);
}

std::string ulimit_advice() {
  const int64_t space = address_space_limit();
  if (space == 0) return "";
  return ": the address space of this process is limited to " + std::to_string(space >> 20) +
         " MiB (ulimit -v); raise it, or remove it with: ulimit -v unlimited";
}

CgroupLimits cgroup_limits(const fs::path& self, const fs::path& root) {
  CgroupLimits limits;
  std::ifstream in(self);
  // "0::/user.slice" (version 2) or "4:cpu,cpuacct:/docker/x" (version 1, one folder per controller).
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controller = line.substr(first + 1, second - first - 1);
    const fs::path mount = controller.empty() ? root : root / controller;
    // A container may see its own group as the root; folders that do not exist are skipped.
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path();; group = group.parent_path()) {
      read_group(mount / group, limits);
      if (group.empty()) break;
    }
  }
  return limits;
}

}  // namespace r1
