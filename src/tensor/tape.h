// tensor/tape.h: reverse-mode differentiation.
//
// An op that is given a tape records one closure; backward() runs the closures last to first. Gradients live
// in the arena of the tensors and closures in the host's: recording allocates nothing else. Gradients of
// activations are f32 and are made on first use: the first writer assigns, later ones add, in the (fixed)
// order of the tape. Once the op that made an activation has run its backward, nobody reads the gradient any
// more and its memory is reused, so the few live gradients stay in the caches. Gradients of parameters live
// with the parameters and always accumulate; the trainer zeroes them.
//
// A product on tensor cores rounds the gradient of its output to bf16 before it reads it. It says so by
// read_rounded(), and an op that makes such a gradient may round it where it is made: slot_to_round() gives bf16 if
// the gradient has no other use, and rounded_copy() a copy beside the f32 values if it has. The bits are the same.
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

// The place where an op writes the gradient of one of its inputs.
struct GradSlot {
  Tensor grad;              // in the input's shape; no data: the gradient is not needed, skip the work
  bool accumulate = false;  // false: assign (the memory is uninitialised); true: add
  explicit operator bool() const { return static_cast<bool>(grad); }
};

// Threads may differentiate pieces of a batch side by side, each on its own tape that records the same
// steps. The gradients of parameters are then added step by step in the order of the pieces: a step of
// one piece begins to add when the piece before has done that step. A batch in pieces thus gives the same
// bits as the whole batch.
struct BackwardProgress {
  static constexpr size_t kNotBegun = SIZE_MAX;
  alignas(64) std::atomic<size_t> left{kNotBegun};  // steps still to run
  // Marks the piece as done, or ended by an error, so that nobody waits for it.
  void end() { left.store(0, std::memory_order_release); }
};

class Tape {
 public:
  // On the CPU, one arena serves tensors and closures.
  explicit Tape(Arena& arena) : Tape(arena, arena) {}
  Tape(Arena& tensors, Arena& host) : arena_(tensors), host_(host) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Names `t` as an activation on this tape. Every op does this to its output (Context::output) before it
  // records its backward. The gradient of `t` is valid until the next recorded step has run its backward.
  void name(Tensor& t);

  // Stores backward(Context&) by value. Capture Tensors and plain numbers, nothing that needs a destructor.
  template <class F>
  void record(const F& backward) {
    static_assert(std::is_trivially_destructible_v<F>, "the tape never runs destructors");
    void* at = host_.take(sizeof(F));
    new (at) F(backward);
    steps_.push_back(
        {at, [](const void* f, Context& ctx) { (*static_cast<const F*>(f))(ctx); }, nodes_.size()});
  }

  // Returns the gradient that flowed into an op's output, in `t`'s shape. It has no data if none did;
  // then there is nothing to do.
  Tensor grad(const Tensor& t) const;
  // Returns where to write the gradient of an op's input. Call it once per contribution, just before writing.
  GradSlot slot(const Tensor& t);
  // For y = x + ..., with x and y of equal count: makes y's gradient x's as well, in the same memory, if x
  // has none yet. Returns false if x has one; the caller then adds to x's slot. A gradient that an op has
  // still to read is copied before anything is added to it.
  bool share(const Tensor& y, const Tensor& x);

  // Called while the forward is recorded: the op that made `t` reads t's gradient rounded to bf16 and in no other way.
  void read_rounded(const Tensor& t) { node(t).reads = Reads::rounded; }
  // y = x + ..., whose gradient share() will make x's, has its gradient read as x's is.
  void read_as(const Tensor& y, const Tensor& x);
  // As slot(), for an op that can write bf16. The gradient is of bf16 if it is only read rounded and nothing has been
  // written to it. Nothing may be added to such a gradient later.
  GradSlot slot_to_round(const Tensor& t);
  // For an op that has just called slot(t) and then writes the last of t's gradient: where to put a copy of the sum
  // rounded to bf16. No data: nobody reads one.
  Tensor rounded_copy(const Tensor& t);
  // Returns the gradient of `t` in bf16, if there is one.
  Tensor rounded_grad(const Tensor& t) const;

  // Starts from the gradients already put through slot(), runs the closures last to first, and forgets
  // them. For one piece of several, `before` is the progress of the piece before (null for the first)
  // and `own` is this piece's.
  void backward(Context& ctx, const BackwardProgress* before = nullptr, BackwardProgress* own = nullptr);
  // Waits for this step's turn. An op's backward calls it before it first adds to a parameter's gradient.
  void await_turn() const;
  void clear();

 private:
  struct Step {
    const void* closure;
    void (*run)(const void*, Context&);
    size_t nodes_end;  // this step's nodes are those named before it and after the step before
  };
  enum class Reads : uint8_t { f32, rounded, both };
  struct Node {
    Shape shape;
    Tensor grad;
    size_t made_at;       // number of steps recorded before it was named; the op that made it comes later
    int32_t next_sharer;  // next in the ring of nodes that share this gradient's memory; alone at first
    Reads reads = Reads::f32;
    Tensor rounded = {};  // a copy of the gradient in bf16, of one node alone; no data: none
  };
  Node& node(const Tensor& t) { return nodes_[static_cast<size_t>(t.node)]; }
  const Node& node(const Tensor& t) const { return nodes_[static_cast<size_t>(t.node)]; }
  void own_gradient(int32_t sharer);
  Tensor new_gradient(const Shape& shape, DType dtype = DType::f32);
  void free_gradient(Tensor& gradient);
  void retire(size_t step);

  Arena& arena_;
  Arena& host_;
  std::vector<Step> steps_;  // these vectors keep their capacity from step to step
  std::vector<Node> nodes_;
  struct Block {
    void* data;
    size_t bytes;
  };
  std::vector<Block> free_;  // memory of gradients that nobody reads any more
  size_t running_ = 0;       // the step that backward() is at
  const BackwardProgress* before_ = nullptr;
  void* stream_ = nullptr;  // of the context of backward()
};

}  // namespace r1
