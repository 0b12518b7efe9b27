// tensor/tape.h: reverse-mode differentiation.
//
// An op that is given a tape records one closure; backward() runs them last to first. Closures and gradients
// live in the arena: recording allocates nothing else. Gradients of activations are f32 and are made on first
// use: the first writer assigns, later ones add, in the (fixed) order of the tape. Once the op that made an
// activation has run its backward, nobody reads the gradient any more, and its memory is the next one's: the
// few that are alive stay in the caches. Gradients of parameters live with the parameters and always
// accumulate; the trainer zeroes them.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>
#include <type_traits>
#include <vector>

#include "tensor/arena.h"
#include "tensor/tensor.h"

namespace r1 {

struct Context;

// Where an op writes the gradient of one of its inputs.
struct GradSlot {
  Tensor grad;              // in the input's shape; no data: nobody wants it, skip the work
  bool accumulate = false;  // false: assign (the memory is uninitialised); true: add
  explicit operator bool() const { return static_cast<bool>(grad); }
};

// Threads may differentiate pieces of a batch side by side, each on a tape of its own that records the same
// steps. Parameters' gradients are then added step by step in the order of the pieces: a piece's step begins
// to add when the piece before has done that step, so a batch in pieces gives the bits of the batch as a
// whole.
struct BackwardProgress {
  static constexpr size_t kNotBegun = SIZE_MAX;
  alignas(64) std::atomic<size_t> left{kNotBegun};  // steps still to run
  // Done, or ended by an error: nobody waits for it.
  void end() { left.store(0, std::memory_order_release); }
};

class Tape {
 public:
  explicit Tape(Arena& arena) : arena_(arena) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Names `t` as an activation on this tape. Every op does this to its output (Context::output) before it
  // records its backward; its gradient is there until the next step to be recorded has run.
  void name(Tensor& t);

  // backward(Context&) is stored by value: capture Tensors and plain numbers, nothing that needs a
  // destructor.
  template <class F>
  void record(const F& backward) {
    static_assert(std::is_trivially_destructible_v<F>, "the tape never runs destructors");
    void* at = arena_.take(sizeof(F));
    new (at) F(backward);
    steps_.push_back(
        {at, [](const void* f, Context& ctx) { (*static_cast<const F*>(f))(ctx); }, nodes_.size()});
  }

  // The gradient that flowed into an op's output, in `t`'s shape; no data where none did (then there is
  // nothing to do).
  Tensor grad(const Tensor& t) const;
  // Where to put the gradient of an op's input. Call it once a contribution, at the time of writing.
  GradSlot slot(const Tensor& t);
  // For y = x + ..., of one count: y's gradient as it is becomes x's, in the same memory, if x has none yet.
  // False where x has one: add to its slot. Whoever adds to a gradient that an op has still to read adds to a
  // copy.
  bool share(const Tensor& y, const Tensor& x);

  // Seeds with the gradients already put through slot(), runs the closures last to first, and forgets them.
  // Of one piece of several: `before` is the progress of the piece before (null: the first), `own` this
  // one's.
  void backward(Context& ctx, const BackwardProgress* before = nullptr, BackwardProgress* own = nullptr);
  // An op's backward calls it before it first adds to a parameter's gradient.
  void await_turn() const;
  void clear();

 private:
  struct Step {
    const void* closure;
    void (*run)(const void*, Context&);
    size_t nodes_end;  // nodes named before it and after the step before are its own
  };
  struct Node {
    Shape shape;
    Tensor grad;
    size_t made_at;       // steps before it was named: its own op's is this one or a later one
    int32_t next_sharer;  // of the same gradient's memory: a ring, of itself alone at first
  };
  Node& node(const Tensor& t) { return nodes_[static_cast<size_t>(t.node)]; }
  const Node& node(const Tensor& t) const { return nodes_[static_cast<size_t>(t.node)]; }
  void own_gradient(int32_t sharer);
  Tensor new_gradient(const Shape& shape);
  void retire(size_t step);

  Arena& arena_;
  std::vector<Step> steps_;  // keep their capacity from step to step
  std::vector<Node> nodes_;
  struct Block {
    void* data;
    size_t bytes;
  };
  std::vector<Block> free_;  // of gradients that nobody reads any more
  size_t running_ = 0;       // the step that backward() is at
  const BackwardProgress* before_ = nullptr;
};

}  // namespace r1
