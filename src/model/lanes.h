// model/lanes.h: runs pieces of a batch, each on one thread from the embedding to the last gradient.
//
// With a small model and few tokens, ops are short: threads that share each op wait for each other, and read
// what another core wrote. A lane is what a thread needs to run a piece alone: its activations stay in its
// own caches, and lanes meet only where parameters' gradients are added, in the order of the pieces
// (tensor/tape.h). Neither the cut of a batch nor the number of lanes changes a bit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/model.h"
#include "tensor/context.h"
#include "tensor/workspace.h"

namespace r1 {

// One thread with a workspace of its own.
struct Lane {
  explicit Lane(Numerics numerics, size_t limit = Arena::kDefaultLimit, Memory& memory = host_memory())
      : work(alone, numerics, memory, limit) {}
  ThreadPool alone{1};
  Workspace work;
};

// A plan for `tokens` tokens with activations of at most `micro` tokens in memory. `largest` is the biggest
// unit that cannot be split.
struct LanePlan {
  int64_t piece = 0;          // most tokens of a piece (a larger unit is a piece of its own)
  bool side_by_side = false;  // each piece on its own lane; else one after the other, all threads on each op
};
LanePlan plan_lanes(int64_t tokens, int64_t largest, int64_t micro, int threads);
// Returns the plan for a device. A GPU takes pieces as large as they may be, one after the other.
LanePlan plan_lanes(Device device, int64_t tokens, int64_t largest, int64_t micro, int threads);

// The lanes and their memory, which is kept from batch to batch.
class Lanes {
 public:
  // `limit` is in bytes, as Arena's; lanes side by side each have a share of it. Activations lie in `memory`.
  Lanes(ThreadPool& threads, Numerics numerics, size_t limit = Arena::kDefaultLimit,
        Memory& memory = host_memory())
      : threads_(threads), numerics_(numerics), limit_(limit), memory_(memory) {}

  // The current piece. ctx has a tape if the batch is differentiated; `before` and `own` are for its
  // backward.
  struct Piece {
    size_t index;
    int lane;  // < threads: no two pieces of a lane run at a time
    Context& ctx;
    const BackwardProgress* before;
    BackwardProgress* own;
    Tape* recompute;  // the lane's second tape, for activation checkpointing (Model::forward)
  };
  // Runs all pieces, begun in order, each in an arena scope of its own. Rethrows the first error of a piece
  // once all pieces have ended.
  void run(size_t pieces, bool side_by_side, bool differentiate,
           const std::function<void(const Piece&)>& body);

  // False: products on a GPU may sum in any order (Context::exact). Before the first run.
  void set_exact(bool exact) { exact_ = exact; }
  // The first lane with all threads and without a tape, for work between two runs.
  Context context();
  // Brings the model's packed copies up to date, on a GPU by one launch. Forwards side by side need that, because
  // they only read the model.
  void pack(const Model& model);
  ThreadPool& threads() const { return threads_; }
  Numerics numerics() const { return numerics_; }
  Memory& memory() const { return memory_; }
  int64_t peak() const;  // peak bytes of all lanes' arenas together

 private:
  struct Own {
    Own(Numerics numerics, size_t limit, Memory& memory) : lane(numerics, limit, memory) {}
    Lane lane;
    Tape tape{lane.work.arena, lane.work.ctx.host()};
    Tape recompute{lane.work.arena, lane.work.ctx.host()};
  };
  Own& lane(size_t i);
  void run_together(size_t pieces, bool differentiate, const std::function<void(const Piece&)>& body);

  ThreadPool& threads_;
  Numerics numerics_;
  size_t limit_;
  Memory& memory_;
  bool exact_ = true;
  std::vector<std::unique_ptr<Own>> lanes_;
};

}  // namespace r1
