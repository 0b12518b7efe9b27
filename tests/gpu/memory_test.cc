// tests/gpu/memory_test.cc: the device's memory, and what a user is told without a device or with too little
// memory.
#include "tensor/memory.h"

#include <numeric>

#include "tensor/arena.h"
#include "tensor/tensor.h"
#include "tests/gpu/device.h"

namespace r1 {
namespace {
using namespace test;

// Runs on machines without a device, so in continuous integration.
TEST(WithoutADevice, IsOneClearLine) {
  std::string line;
  try {
    cuda_memory();
    GTEST_SKIP() << "this machine has " << cuda::device_facts().name;
  } catch (const Error& error) {
    line = error.what();
  }
  EXPECT_NE(line.find("use --device cpu"), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  EXPECT_THROW(cuda::Stream(), Error);
}

class CudaMemory : public OnDevice {};

std::vector<int32_t> counted(int64_t n, int32_t from) {
  std::vector<int32_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), from);
  return out;
}

TEST_F(CudaMemory, CopiesBothWaysAndWithin) {
  Memory& memory = cuda_memory();
  EXPECT_EQ(memory.device(), Device::cuda);
  const size_t bytes = size_t{3} << 20;
  const auto values = counted(static_cast<int64_t>(bytes / 4), 5);
  std::vector<int32_t> back(values.size(), -1);
  void* a = memory.allocate(bytes);
  void* b = memory.allocate(bytes);
  memory.read(back.data(), a, bytes);
  EXPECT_EQ(back, std::vector<int32_t>(values.size(), 0)) << "allocate() zeroes";
  const cuda::Stream stream;
  memory.write(a, values.data(), bytes, stream.get());
  memory.copy(b, a, bytes, stream.get());
  memory.zero(a, bytes / 2, stream.get());
  memory.read(back.data(), b, bytes, stream.get());
  EXPECT_EQ(back, values);
  memory.read(back.data(), a, bytes, stream.get());
  EXPECT_EQ(back[0], 0);
  EXPECT_EQ(back.back(), values.back());
  memory.free(a, bytes);
  memory.free(b, bytes);
}

TEST_F(CudaMemory, ArenaGrowsInPlaceAndKeepsWhatItHolds) {
  const size_t free_before = cuda::device_facts().free;
  {
    Arena arena(Arena::kDefaultLimit, cuda_memory());
    Memory& memory = cuda_memory();
    const auto first = counted(1000, 1), last = counted(1000, 7);
    int32_t* at = arena.array<int32_t>(1000);
    memory.write(at, first.data(), 4000);
    std::vector<int32_t*> places;
    for (int i = 0; i < 40; ++i) {  // 40 x 30 MiB: several pieces
      int32_t* place = arena.array<int32_t>(int64_t{30} << 18);
      memory.write(place + (int64_t{30} << 18) - 1000, last.data(), 4000);
      places.push_back(place);
    }
    std::vector<int32_t> back(1000);
    memory.read(back.data(), at, 4000);
    EXPECT_EQ(back, first);
    for (const int32_t* place : places) {
      memory.read(back.data(), place + (int64_t{30} << 18) - 1000, 4000);
      EXPECT_EQ(back, last);
    }
    EXPECT_GT(arena.peak(), size_t{1200} << 20);
    EXPECT_LT(cuda::device_facts().free + (size_t{1200} << 20), free_before + (size_t{64} << 20));
  }
  EXPECT_GT(cuda::device_facts().free + (size_t{64} << 20), free_before) << "the arena gave its memory back";
}

TEST_F(CudaMemory, TooLittleIsOneLineThatSaysHowMuch) {
  const size_t all = cuda::device_facts().bytes;
  const auto line_of = [](const auto& f) {
    try {
      f();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string block = line_of([&] { cuda_memory().allocate(all + 1); });
  EXPECT_NE(block.find("out of GPU memory: "), std::string::npos) << block;
  EXPECT_NE(block.find(std::to_string((all >> 20) + 1) + " MiB more are needed"), std::string::npos) << block;
  Arena arena(Arena::kDefaultLimit, cuda_memory());
  const std::string step = line_of([&] { arena.take(all + 1); });
  EXPECT_NE(step.find("out of GPU memory: "), std::string::npos) << step;
  EXPECT_NE(step.find(" are free"), std::string::npos) << step;
  EXPECT_NE(arena.take(1 << 20), nullptr) << "the arena can be used after an error";
}

}  // namespace
}  // namespace r1
