#include "tensor/tape.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/sanitizer.h"
#include "tensor/context.h"

namespace r1 {

void Tape::name(Tensor& t) {
  t.node = static_cast<int32_t>(nodes_.size());
  nodes_.push_back({t.shape, {}, steps_.size(), t.node});
}

Tensor Tape::grad(const Tensor& t) const {
  if (t.node < 0) return {};
  const Tensor& g = node(t).grad;
  return g ? g.reshaped(t.shape) : g;
}

GradSlot Tape::slot(const Tensor& t) {
  if (t.node < 0) return {};
  Node& n = node(t);
  const bool accumulate = static_cast<bool>(n.grad);
  R1_CHECK(!accumulate || n.grad.dtype == DType::f32, "a gradient ", n.shape.str(),
           " has been rounded, and more is to be added to it");
  free_gradient(n.rounded);
  if (!accumulate) n.grad = new_gradient(n.shape);
  if (n.next_sharer != t.node) own_gradient(t.node);
  return {n.grad.reshaped(t.shape), accumulate};
}

void Tape::read_as(const Tensor& y, const Tensor& x) {
  if (x.node >= 0 && node(x).reads == Reads::rounded) node(y).reads = Reads::both;
}

GradSlot Tape::slot_to_round(const Tensor& t) {
  if (t.node < 0 || node(t).reads != Reads::rounded || node(t).grad) return slot(t);
  Node& n = node(t);
  n.grad = new_gradient(n.shape, DType::bf16);
  return {n.grad.reshaped(t.shape), false};
}

Tensor Tape::rounded_copy(const Tensor& t) {
  if (t.node < 0 || node(t).reads == Reads::f32) return {};
  Node& n = node(t);
  n.rounded = new_gradient(n.shape, DType::bf16);
  return n.rounded.reshaped(t.shape);
}

Tensor Tape::rounded_grad(const Tensor& t) const {
  if (t.node < 0) return {};
  const Node& n = node(t);
  const Tensor& rounded = n.grad && n.grad.dtype == DType::bf16 ? n.grad : n.rounded;
  return rounded ? rounded.reshaped(t.shape) : rounded;
}

bool Tape::share(const Tensor& y, const Tensor& x) {
  if (x.node < 0 || y.node < 0 || !node(y).grad) return true;
  Node &from = node(y), &to = node(x);
  if (to.grad) return false;
  to.grad = from.grad.reshaped(to.shape);
  to.next_sharer = std::exchange(from.next_sharer, x.node);
  if (to.reads == Reads::rounded && from.rounded) {
    to.rounded = from.rounded.reshaped(to.shape);
    from.rounded = {};
  }
  return true;
}

// Copies the gradient and leaves the ring, if another member's gradient has not been read by its op yet.
void Tape::own_gradient(int32_t sharer) {
  bool read_later = false;
  int32_t last = sharer;
  for (;;) {
    const int32_t next = nodes_[static_cast<size_t>(last)].next_sharer;
    if (next == sharer) break;
    read_later |= nodes_[static_cast<size_t>(next)].made_at <= running_;
    last = next;
  }
  if (!read_later) return;
  Node& n = nodes_[static_cast<size_t>(sharer)];
  const Tensor copy = new_gradient(n.shape);
  arena_.memory().copy(copy.data, n.grad.data, n.grad.bytes(), stream_);
  n.grad = copy;
  nodes_[static_cast<size_t>(last)].next_sharer = std::exchange(n.next_sharer, sharer);
}

// Reuses the block freed last of this size or up to twice as large; otherwise takes memory from the arena.
Tensor Tape::new_gradient(const Shape& shape, DType dtype) {
  const size_t bytes = static_cast<size_t>(shape.count()) * size_of(dtype);
  size_t best = free_.size();
  for (size_t i = free_.size(); i-- > 0;) {
    if (free_[i].bytes < bytes || free_[i].bytes > 2 * bytes) continue;
    if (best == free_.size() || free_[i].bytes < free_[best].bytes) best = i;
    if (free_[best].bytes == bytes) break;
  }
  if (best == free_.size()) return arena_.tensor(shape, dtype);
  Tensor t;
  t.dtype = dtype;
  t.data = free_[best].data;
  t.shape = shape;
  free_.erase(free_.begin() + static_cast<int64_t>(best));
  if (arena_.poisoned()) ASAN_UNPOISON_MEMORY_REGION(t.data, bytes);
  return t;
}

void Tape::free_gradient(Tensor& gradient) {
  if (!gradient) return;
  free_.push_back({gradient.data, gradient.bytes()});
  if (arena_.poisoned()) ASAN_POISON_MEMORY_REGION(gradient.data, gradient.bytes());
  gradient = {};
}

// Frees the gradients of this step's outputs, which have been read.
void Tape::retire(size_t step) {
  const size_t begin = step == 0 ? 0 : steps_[step - 1].nodes_end;
  for (size_t i = begin; i < steps_[step].nodes_end; ++i) {
    Node& n = nodes_[i];
    if (!n.grad) continue;
    free_gradient(n.rounded);
    const auto self = static_cast<int32_t>(i);
    if (n.next_sharer == self) {
      free_gradient(n.grad);
    } else {
      int32_t before = n.next_sharer;
      while (nodes_[static_cast<size_t>(before)].next_sharer != self)
        before = nodes_[static_cast<size_t>(before)].next_sharer;
      nodes_[static_cast<size_t>(before)].next_sharer = std::exchange(n.next_sharer, self);
    }
    n.grad = {};
  }
}

void Tape::backward(Context& ctx, const BackwardProgress* before, BackwardProgress* own) {
  before_ = before;
  stream_ = ctx.stream;
  for (running_ = steps_.size(); running_ > 0;) {
    --running_;
    steps_[running_].run(steps_[running_].closure, ctx);
    retire(running_);
    if (own != nullptr) own->left.store(running_, std::memory_order_release);
  }
  before_ = nullptr;
  clear();
}

void Tape::await_turn() const {
  if (before_ == nullptr) return;
  constexpr int kSpins = 1000;  // about as long as a small op; after that the thread yields its core
  for (int spins = 0; before_->left.load(std::memory_order_acquire) > running_; ++spins) {
    if (spins >= kSpins) std::this_thread::yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

void Tape::clear() {
  steps_.clear();
  nodes_.clear();
  free_.clear();
}

}  // namespace r1
