// ops/residual/residual.h: the residual stream of a forward without a tape. A part of a block reads rms_norm(x), and x takes
// in the part's result.
//
// Norms, products and sums that are separate ops elsewhere are one launch here where a backend has one for so few rows:
// decoding on a CUDA device, whose time is that of reading the weights once and of its launches.
// Bits: those of rms_norm, matmul, swiglu and add_in_place one after the other, whichever way is taken.
#pragma once

#include <initializer_list>
#include <vector>

#include "ops/matmul/weight.h"
#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

struct Norm {
  const Parameter* w = nullptr;  // [D]
  float eps = 0;
};

class ResidualStream {
 public:
  // x [T, D], f32, is changed in place. `norm` is that of the first part. Takes memory for normed rows from ctx.arena.
  ResidualStream(Context& ctx, const Tensor& x, const Norm& norm);

  // rms_norm(x) by the norm of the part that reads x now, [T, D] in the activation type. The memory is the stream's.
  const Tensor& normed(Context& ctx);
  // The products of normed(x) with several weights, in the activation type.
  std::vector<Tensor> matmuls(Context& ctx, std::initializer_list<const Weight*> weights);
  // swiglu(normed(x) gate^T, normed(x) up^T) [T, F].
  Tensor gated(Context& ctx, const Weight& gate, const Weight& up);

  // x += term [T, D], f32. `next` is the norm of the part that reads x next.
  void add(Context& ctx, const Tensor& term, const Norm& next);
  // x += y w^T (+ bias).
  void add_matmul(Context& ctx, const Tensor& y, const Weight& w, const Norm& next);

 private:
  Tensor x_, normed_;
  Norm norm_;
  bool made_ = false;  // normed_ holds the norm of x_
};

}  // namespace r1
