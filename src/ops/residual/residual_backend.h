// ops/residual/residual_backend.h: what residual.cc asks of a backend. Private to this folder.
#pragma once

#include <span>
#include <vector>

#include "ops/residual/residual.h"

namespace r1 {

// Rows of x, f32, which are normed first; or, without a norm, normed rows.
struct ResidualRows {
  Tensor x;
  Norm norm;
};
struct ResidualProducts {
  ResidualRows rows;
  std::span<const Weight* const> weights;
};
struct ResidualGated {
  ResidualRows rows;
  const Weight *gate = nullptr, *up = nullptr;
};
struct ResidualSum {
  Tensor x, y;  // x += y w^T (+ bias)
  const Weight* w = nullptr;
};

// Each does everything in one launch, or does and takes nothing and returns nothing: the ops are run one by one then.
namespace cpu {
inline std::vector<Tensor> residual_products(Context&, const ResidualProducts&) {
  return {};
}
inline Tensor residual_gated(Context&, const ResidualGated&) {
  return {};
}
inline bool residual_sum(Context&, const ResidualSum&) {
  return false;
}
}  // namespace cpu

namespace cuda {
std::vector<Tensor> residual_products(Context& ctx, const ResidualProducts& call);
Tensor residual_gated(Context& ctx, const ResidualGated& call);
bool residual_sum(Context& ctx, const ResidualSum& call);
}  // namespace cuda

}  // namespace r1
