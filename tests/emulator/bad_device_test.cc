// tests/emulator/bad_device_test.cc: what is said of a driver, a card or a memory that will not do.
#include <cstdlib>

#include "base/error.h"
#include "tensor/cuda.h"
#include "tests/emulator/error_exit.h"

namespace r1::emulator {
namespace {

// The settings of the emulated device are read once, so each case is a process of its own.
class EmulatedDevice : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  void TearDown() override {
    for (const char* name : {"R1_EMULATED_DRIVER", "R1_EMULATED_MIB"}) ::unsetenv(name);
    before_ != nullptr ? ::setenv("R1_EMULATED_SM", before_, 1) : ::unsetenv("R1_EMULATED_SM");
  }
  const char* before_ = std::getenv("R1_EMULATED_SM");
};

TEST_F(EmulatedDevice, ADriverThatIsTooOldIsNamedWithWhatIsNeeded) {
  ::setenv("R1_EMULATED_DRIVER", "12040", 1);
  EXPECT_EXIT(end_with_error([] { cuda::device_facts(); }), ::testing::ExitedWithCode(3),
              "the NVIDIA driver is too old: it supports CUDA 12.4, this build needs 13.*update the driver "
              "or use --device cpu");
}

TEST_F(EmulatedDevice, NoDriverIsNoDevice) {
  ::setenv("R1_EMULATED_DRIVER", "0", 1);
  EXPECT_EXIT(end_with_error([] { cuda::device_facts(); }), ::testing::ExitedWithCode(3),
              "no CUDA device: no NVIDIA driver is installed; use --device cpu");
}

TEST_F(EmulatedDevice, ACardThatIsTooOldIsNamed) {
  ::setenv("R1_EMULATED_SM", "75", 1);
  EXPECT_EXIT(end_with_error([] { cuda::device_facts(); }), ::testing::ExitedWithCode(3),
              "emulated sm_75 has compute capability 7.5; 8.0 or newer is needed");
}

TEST_F(EmulatedDevice, TooLittleMemoryIsOneLineWithTheNumbers) {
  ::setenv("R1_EMULATED_MIB", "64", 1);
  EXPECT_EXIT(end_with_error([] { cuda_memory().allocate(size_t{100} << 20); }), ::testing::ExitedWithCode(3),
              "out of GPU memory: 100 MiB more are needed, 64 MiB of .* 64 MiB are free");
}

}  // namespace
}  // namespace r1::emulator
