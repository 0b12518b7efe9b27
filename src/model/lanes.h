// model/lanes.h: pieces of a batch, each taken by one thread from the embedding to the last gradient.
//
// Ops of small models and few tokens are short: threads that share each of them wait for each other, and read
// what another core wrote. A lane is what a thread needs to run a piece alone: what it makes stays in its own
// caches, and lanes meet only where parameters' gradients are added, in the order of the pieces
// (tensor/tape.h). How a batch is cut and how many lanes there are changes no bit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/model.h"
#include "tensor/context.h"

namespace r1 {

// Memory and a context of one thread's own, without a tape.
struct Lane {
  explicit Lane(Numerics numerics, size_t limit = Arena::kDefaultLimit)
      : arena(limit), ctx{.arena = arena, .threads = alone, .numerics = numerics} {}
  Arena arena;
  ThreadPool alone{1};
  Context ctx;
};

// How a batch of `tokens` tokens, whose largest indivisible part has `largest`, goes through a model, with
// room for the activations of `micro` tokens at a time.
struct LanePlan {
  int64_t piece = 0;          // tokens of a piece, at most (a larger part: a piece of its own)
  bool side_by_side = false;  // pieces on a lane each; else one after the other, all threads on each op
};
LanePlan plan_lanes(int64_t tokens, int64_t largest, int64_t micro, int threads);

// Lanes, and their memory, which is kept from batch to batch.
class Lanes {
 public:
  // `limit`: bytes, as Arena's; lanes side by side have a share of it each.
  Lanes(ThreadPool& threads, Numerics numerics, size_t limit = Arena::kDefaultLimit)
      : threads_(threads), numerics_(numerics), limit_(limit) {}

  // Of the piece in hand. ctx has a tape where the batch is differentiated; `before` and `own` are for its
  // backward.
  struct Piece {
    size_t index;
    int lane;  // < threads: no two pieces of a lane run at a time
    Context& ctx;
    const BackwardProgress* before;
    BackwardProgress* own;
  };
  // Runs all pieces, each in an arena scope of its own, begun in order. The first error that a piece throws
  // is thrown again once all have ended.
  void run(size_t pieces, bool side_by_side, bool differentiate,
           const std::function<void(const Piece&)>& body);

  // Forwards side by side only read the model: its packed copies are brought up to date before.
  void pack(const Model& model);
  ThreadPool& threads() const { return threads_; }
  int64_t peak() const;  // bytes that the lanes' arenas had at most, together

 private:
  struct Own {
    Own(Numerics numerics, size_t limit) : lane(numerics, limit) {}
    Lane lane;
    Tape tape{lane.arena};
  };
  Own& lane(size_t i);
  void run_together(size_t pieces, bool differentiate, const std::function<void(const Piece&)>& body);

  ThreadPool& threads_;
  Numerics numerics_;
  size_t limit_;
  std::vector<std::unique_ptr<Own>> lanes_;
};

}  // namespace r1
