// The limits of control groups are found in the trees of both versions, at any level above the process.
#include "base/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/process.h"

namespace r1::machine_test {
namespace {

namespace fs = std::filesystem;

class Cgroups : public testing::Test {
 protected:
  Cgroups() : root(fs::temp_directory_path() / ("r1_cgroup_" + std::to_string(::getpid()))) {
    fs::create_directories(root);
  }
  ~Cgroups() override { fs::remove_all(root); }
  void put(const std::string& name, const std::string& text) const {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name) << text << "\n";
  }
  CgroupLimits limits() const { return cgroup_limits(root / "self", root); }
  fs::path root;
};

TEST_F(Cgroups, TheTightestGroupAboveBinds) {
  put("self", "0::/a/b");
  put("a/b/cpu.max", "max 100000");
  put("a/cpu.max", "150000 100000");
  put("a/b/memory.max", "2147483648");
  put("a/memory.max", "1073741824");
  EXPECT_EQ(limits().cpus, 1.5);
  EXPECT_EQ(limits().memory, 1073741824);
}

TEST_F(Cgroups, VersionOneAndGroupsThatAreNotThere) {
  put("self", "7:memory:/docker/x\n3:cpu,cpuacct:/docker/x");
  put("memory/memory.limit_in_bytes", "536870912");
  put("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "200000");
  put("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000");
  EXPECT_EQ(limits().memory, 536870912);
  EXPECT_EQ(limits().cpus, 2.0);
}

TEST_F(Cgroups, NoBoundIsZero) {
  put("self", "0::/\n7:memory:/");
  put("memory.max", "max");
  put("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(limits().memory, 0);
  EXPECT_EQ(limits().cpus, 0);
  EXPECT_EQ(cgroup_limits(root / "none", root).memory, 0);
}

TEST(Machine, SaysWhatThisProcessNeedsToKnow) {
  EXPECT_GT(cpu_facts().online, 0);
  EXPECT_GT(memory_facts().total, memory_facts().available);
  EXPECT_GT(resident_bytes(), 1 << 20);
  const int64_t now = resident_bytes();
  EXPECT_GE(peak_resident_bytes() + (1 << 20), now);  // the kernel counts in batches of pages
  std::vector<char> touched(64 << 20, 1);
  EXPECT_EQ(touched[touched.size() / 2], 1);
  EXPECT_GT(peak_resident_bytes(), 60 << 20);
}

}  // namespace
}  // namespace r1::machine_test
