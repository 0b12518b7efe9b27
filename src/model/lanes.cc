#include "model/lanes.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <utility>

#include "base/integers.h"

namespace r1 {
namespace {

// With more tokens, an op's results have left a core's caches before the next op reads them.
constexpr int64_t kPieceTokens = 512;
// With fewer tokens, loading the weights from memory takes most of the time.
constexpr int64_t kLeastTokens = 128;

}  // namespace

LanePlan plan_lanes(int64_t tokens, int64_t largest, int64_t micro, int threads) {
  const int64_t share = micro / threads;
  if (threads == 1) return {.piece = std::min(micro, kPieceTokens)};
  if (largest > share || share < kLeastTokens) return {.piece = micro};
  const int64_t even = ceil_div(tokens, 2 * threads);
  return {.piece = std::clamp(even, kLeastTokens, std::min(share, kPieceTokens)), .side_by_side = true};
}

LanePlan plan_lanes(Device device, int64_t tokens, int64_t largest, int64_t micro, int threads) {
  return device == Device::cpu ? plan_lanes(tokens, largest, micro, threads) : LanePlan{.piece = micro};
}

void Lanes::pack(const Model& model) {
  Context ctx = context();
  model.pack(ctx);
}

Context Lanes::context() {
  Workspace& first = lane(0).lane.work;
  return {.arena = first.arena,
          .threads = threads_,
          .device = first.ctx.device,
          .numerics = numerics_,
          .host_arena = first.host.get(),
          .stream = first.ctx.stream,
          .exact = exact_};
}

// The first lane, which all threads may share, may fill the limit alone.
Lanes::Own& Lanes::lane(size_t i) {
  while (lanes_.size() <= i) {
    const auto sharing = static_cast<size_t>(lanes_.empty() ? 1 : threads_.size());
    lanes_.push_back(std::make_unique<Own>(numerics_, limit_ / sharing, memory_));
    lanes_.back()->lane.work.ctx.exact = exact_;
  }
  return *lanes_[i];
}

int64_t Lanes::peak() const {
  int64_t bytes = 0;
  for (const auto& own : lanes_) bytes += static_cast<int64_t>(own->lane.work.arena.peak());
  return bytes;
}

void Lanes::run(size_t pieces, bool side_by_side, bool differentiate,
                const std::function<void(const Piece&)>& body) {
  const size_t wanted = side_by_side ? std::min(pieces, static_cast<size_t>(threads_.size())) : 1;
  if (wanted <= 1) return run_together(pieces, differentiate, body);
  lane(wanted - 1);
  std::vector<BackwardProgress> progress(pieces);
  std::vector<std::exception_ptr> failed(pieces);
  std::atomic<size_t> next{0};
  // Pieces are begun in order, so a piece that another one waits for is always running or done.
  threads_.parallel_for(static_cast<int64_t>(wanted), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Own& own = *lanes_[static_cast<size_t>(i)];
      Context ctx = own.lane.work.ctx;
      if (differentiate) ctx.tape = &own.tape;
      for (size_t piece; (piece = next.fetch_add(1)) < pieces;) {
        const OpScope scope(ctx);
        try {
          body({.index = piece,
                .lane = static_cast<int>(i),
                .ctx = ctx,
                .before = piece == 0 ? nullptr : &progress[piece - 1],
                .own = &progress[piece],
                .recompute = &own.recompute});
        } catch (...) {
          failed[piece] = std::current_exception();
          own.tape.clear();
        }
        progress[piece].end();
      }
    }
  });
  for (const std::exception_ptr& e : failed) {
    if (e) std::rethrow_exception(e);
  }
}

void Lanes::run_together(size_t pieces, bool differentiate, const std::function<void(const Piece&)>& body) {
  for (size_t i = 0; i < pieces; ++i) {
    Own& own = lane(0);
    Context ctx = context();
    const OpScope scope(ctx);
    own.tape.clear();
    if (differentiate) ctx.tape = &own.tape;
    body({.index = i, .lane = 0, .ctx = ctx, .before = nullptr, .own = nullptr, .recompute = &own.recompute});
  }
}

}  // namespace r1
