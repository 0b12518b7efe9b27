#include "model/lanes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace r1::lanes_test {
namespace {

TEST(LanePlan, LanesShareTheMemoryOfAMicroBatch) {
  // There are two lanes of at most 2,048 tokens. A piece is no longer than what stays in a core's caches.
  EXPECT_TRUE(plan_lanes(20000, 700, 4096, 2).side_by_side);
  EXPECT_EQ(plan_lanes(20000, 700, 4096, 2).piece, 512);
  EXPECT_EQ(plan_lanes(20000, 100, 800, 2).piece, 400);
  EXPECT_EQ(plan_lanes(1000, 100, 4096, 2).piece, 250) << "both have something to do";
}

TEST(LanePlan, AllThreadsTogetherWhereLanesWouldNotFit) {
  EXPECT_FALSE(plan_lanes(20000, 2049, 4096, 2).side_by_side) << "a row longer than a lane's share";
  EXPECT_FALSE(plan_lanes(20000, 100, 4096, 64).side_by_side) << "shares of 64 tokens";
  EXPECT_EQ(plan_lanes(20000, 100, 4096, 64).piece, 4096);
  EXPECT_FALSE(plan_lanes(20000, 100, 4096, 1).side_by_side);
}

// Each piece may add only after the piece before it. The pieces record their order.
TEST(Lanes, PiecesAreDoneInOrder) {
  ThreadPool threads(3);
  Lanes lanes(threads, Numerics::cpu_f32);
  for (const bool side_by_side : {true, false}) {
    std::vector<size_t> order;
    lanes.run(20, side_by_side, true, [&](const Lanes::Piece& p) {
      EXPECT_EQ(p.ctx.tape != nullptr, true);
      EXPECT_EQ(p.ctx.threads.size(), side_by_side ? 1 : 3);
      p.ctx.tape->record([&order, index = p.index](Context& c) {
        c.tape->await_turn();
        order.push_back(index);
      });
      if (p.index % 3 == 0) std::this_thread::yield();
      p.ctx.tape->backward(p.ctx, p.before, p.own);
    });
    ASSERT_EQ(order.size(), 20u);
    for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
  }
}

TEST(Lanes, AnErrorInAPieceReachesTheCallerAndHoldsNobodyUp) {
  ThreadPool threads(3);
  Lanes lanes(threads, Numerics::cpu_f32);
  for (const bool side_by_side : {true, false}) {
    std::atomic<int> begun{0};
    const auto body = [&](const Lanes::Piece& p) {
      ++begun;
      p.ctx.tape->record([](Context& c) { c.tape->await_turn(); });
      if (p.index == 4) throw Error("piece 4");
      p.ctx.tape->backward(p.ctx, p.before, p.own);
    };
    EXPECT_THROW(lanes.run(12, side_by_side, true, body), Error);
    EXPECT_EQ(begun, side_by_side ? 12 : 5);
    begun = 0;
    lanes.run(4, side_by_side, true, body);  // nothing of the earlier failure is left
    EXPECT_EQ(begun, 4);
  }
}

TEST(Lanes, EachHasAShareOfTheLimit) {
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32, size_t{4} << 20);
  constexpr size_t kMost = size_t{3} << 20;
  EXPECT_NO_THROW(lanes.run(1, true, false, [](const Lanes::Piece& p) { p.ctx.arena.take(kMost); }));
  std::atomic<int> at_work{0};
  EXPECT_THROW(lanes.run(2, true, false,
                         [&](const Lanes::Piece& p) {
                           ++at_work;
                           while (at_work < 2) std::this_thread::yield();  // both lanes have a piece
                           if (p.lane == 1) p.ctx.arena.take(kMost);
                         }),
               Error);
}

}  // namespace
}  // namespace r1::lanes_test
