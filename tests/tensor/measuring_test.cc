// Measuring: two arenas count what one takes, and memory that does not exist counts too.
#include <gtest/gtest.h>

#include "tensor/context.h"

namespace r1::measuring_test {
namespace {

// Takes memory as an op and its tape do, from both arenas of a context.
void take_and_release(Context& ctx) {
  ctx.arena.array<float>(1000);
  ctx.host().array<int32_t>(7);
  {
    const OpScope scope(ctx);
    ctx.host().array<int64_t>(300);
    ctx.arena.array<float>(5000);
    {
      const OpScope inner(ctx);
      ctx.host().array<int32_t>(9000);
    }
    ctx.arena.array<float>(123);
  }
  ctx.host().array<int32_t>(11);
  ctx.arena.array<float>(2000);
}

TEST(Measuring, TwoArenasCountWhatOneTakes) {
  ThreadPool threads(1);
  Arena real;
  Context ctx{.arena = real, .threads = threads};
  take_and_release(ctx);

  NoMemory memory;
  Arena counting(Arena::kDefaultLimit, memory), host(counting);
  Context measuring{.arena = counting, .threads = threads, .host_arena = &host, .measuring = true};
  take_and_release(measuring);
  EXPECT_EQ(counting.peak(), real.peak());
  EXPECT_EQ(counting.mark(), real.mark());
}

TEST(Measuring, TheHostArenaHasMemory) {
  NoMemory memory;
  Arena counting(Arena::kDefaultLimit, memory), host(counting);
  int32_t* list = host.array<int32_t>(1000);
  for (int32_t i = 0; i < 1000; ++i) list[i] = i;
  EXPECT_EQ(list[999], 999);
}

TEST(Measuring, MoreThanThisMachineHasCanBeMeasured) {
  NoMemory memory;
  Arena arena(size_t{1} << 50, memory);
  arena.take(size_t{1} << 49);
  EXPECT_GE(arena.peak(), size_t{1} << 49);
  EXPECT_THROW(arena.take(size_t{1} << 50), Error);
}

TEST(Measuring, BuffersAreCountedUntilTheyAreFreed) {
  NoMemory memory;
  {
    const Buffer weights({1000, 1000}, DType::f32, memory);
    EXPECT_EQ(memory.allocated(), 4'000'000u);
    const Buffer more({32}, DType::bf16, memory);
    EXPECT_EQ(memory.allocated(), 4'000'064u);
    EXPECT_NE(weights.tensor().data, more.tensor().data);
  }
  EXPECT_EQ(memory.allocated(), 0u);
}

}  // namespace
}  // namespace r1::measuring_test
