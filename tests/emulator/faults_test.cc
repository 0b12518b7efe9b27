// tests/emulator/faults_test.cc: what a kernel must not do is found on the emulated GPU.
#include <numeric>

#include "tests/emulator/error_exit.h"
#include "tests/emulator/fault_kernels.h"
#include "tests/gpu/device.h"

namespace r1::emulator {
namespace {
using namespace test;

std::vector<float> numbers(int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 1.0f);
  return out;
}

float* device_values(int64_t n) {
  const std::vector<float> values = numbers(n);
  const size_t bytes = values.size() * sizeof(float);
  void* const at = cuda_memory().allocate(bytes);
  cuda_memory().write(at, values.data(), bytes);
  return static_cast<float*>(at);
}

class EmulatedFaults : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(EmulatedFaults, AnElementBehindAnArrayIsNotRead) {
  float* const out = device_values(4);
  launch_read_behind(device_values(100), 99, out);
  const auto read = [&](int64_t at) { return [=] { launch_read_behind(device_values(100), at, out); }; };
  EXPECT_EXIT(end_with_error(read(100)), ::testing::ExitedWithCode(3),
              "read_behind.*no such memory of the device.*cudaErrorIllegalAddress");
  EXPECT_EXIT(end_with_error(read(-1)), ::testing::ExitedWithCode(3), "no such memory of the device");
}

TEST_F(EmulatedFaults, MemoryThatWasFreedIsNotRead) {
  float* const out = device_values(4);
  float* const gone = device_values(100);
  launch_read_behind(gone, 50, out);
  const auto read = [&] {
    cuda_memory().free(gone, 100 * sizeof(float));
    launch_read_behind(gone, 50, out);
  };
  EXPECT_EXIT(end_with_error(read), ::testing::ExitedWithCode(3), "no such memory of the device");
}

TEST_F(EmulatedFaults, VectorsAreAligned) {
  EXPECT_EXIT(end_with_error([] { launch_read_unaligned(device_values(8), device_values(4)); }),
              ::testing::ExitedWithCode(3), "not aligned.*cudaErrorMisalignedAddress");
}

TEST_F(EmulatedFaults, AMissingBarrierShowsInOneOfFourLaunches) {
  for (const bool waits : {true, false}) {
    int wrong = 0;
    for (int launch = 0; launch < 4; ++launch) {
      const cuda::Stream stream;
      const std::vector<float> before = numbers(64);
      const DeviceFloats values{std::span<const float>(before)};
      launch_swap_warps(values.data(), waits);
      const std::vector<float> after = values.values(stream);
      bool right = true;
      for (size_t i = 0; i < 64; ++i) right = right && after[i] == before[(i + 32) % 64];
      wrong += right ? 0 : 1;
    }
    EXPECT_EQ(wrong > 0, !waits);
  }
}

TEST_F(EmulatedFaults, ACopyIsThereWhenItWasWaitedFor) {
  for (const bool waits : {true, false}) {
    const cuda::Stream stream;
    const std::vector<float> from = numbers(32);
    const DeviceFloats source{std::span<const float>(from)}, to(32);
    launch_copy_async(source.data(), to.data(), waits);
    EXPECT_EQ(to.values(stream) == from, waits);
  }
}

TEST_F(EmulatedFaults, ThreadsOfAWarpThatNeverMeetEndTheLaunch) {
  EXPECT_EXIT(
      end_with_error([] { launch_shuffle_apart(device_values(32)); }), ::testing::ExitedWithCode(3),
      "shuffle_apart.*threads of the warp that should take part never come here.*cudaErrorLaunchFailure");
}

TEST_F(EmulatedFaults, ABarrierThatIsNeverFullEndsTheLaunch) {
  EXPECT_EXIT(end_with_error([] { launch_wait_for_nobody(); }), ::testing::ExitedWithCode(3),
              "every warp waits.*cudaErrorLaunchTimeout");
}

}  // namespace
}  // namespace r1::emulator
