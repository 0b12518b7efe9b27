#include "tensor/tape.h"

#include "tensor/context.h"

namespace r1 {

void Tape::name(Tensor& t) {
  t.node = static_cast<int32_t>(shapes_.size());
  shapes_.push_back(t.shape);
  grads_.emplace_back();
}

Tensor Tape::grad(const Tensor& t) const {
  if (t.node < 0) return {};
  const Tensor& g = grads_[static_cast<size_t>(t.node)];
  return g ? g.reshaped(t.shape) : g;
}

GradSlot Tape::slot(const Tensor& t) {
  if (t.node < 0) return {};
  Tensor& g = grads_[static_cast<size_t>(t.node)];
  const bool accumulate = static_cast<bool>(g);
  if (!accumulate) g = arena_.tensor(shapes_[static_cast<size_t>(t.node)]);
  return {g.reshaped(t.shape), accumulate};
}

void Tape::backward(Context& ctx) {
  for (size_t i = steps_.size(); i > 0; --i) steps_[i - 1].run(steps_[i - 1].closure, ctx);
  clear();
}

void Tape::clear() {
  steps_.clear();
  grads_.clear();
  shapes_.clear();
}

}  // namespace r1
