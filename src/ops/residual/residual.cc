#include "ops/residual/residual.h"

#include "ops/backend.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/residual/residual_backend.h"
#include "ops/swiglu/swiglu.h"

namespace r1 {

ResidualStream::ResidualStream(Context& ctx, const Tensor& x, const Norm& norm)
    : x_(x), normed_(ctx.arena.tensor(x.shape, ctx.activations())), norm_(norm) {
  R1_CHECK(ctx.tape == nullptr && x.shape.rank() == 2 && x.dtype == DType::f32, "a residual stream ",
           x.shape.str());
}

const Tensor& ResidualStream::normed(Context& ctx) {
  if (!made_) rms_norm_into(ctx, x_, *norm_.w, norm_.eps, normed_);
  made_ = true;
  return normed_;
}

std::vector<Tensor> ResidualStream::matmuls(Context& ctx, std::initializer_list<const Weight*> weights) {
  for (const Weight* w : weights)
    R1_CHECK(w->K() == x_.dim(1), w->dense().name, " is ", w->dense().value.shape.str(), ", its input ",
             x_.shape.str());
  if (!made_) {
    std::vector<Tensor> out =
        R1_BACKEND(ctx, residual_products,
                   (ResidualProducts{.rows = {x_, norm_}, .weights = {weights.begin(), weights.size()}}));
    if (!out.empty()) return out;
  }
  return r1::matmuls(ctx, normed(ctx), weights);
}

Tensor ResidualStream::gated(Context& ctx, const Weight& gate, const Weight& up) {
  R1_CHECK(gate.K() == x_.dim(1) && up.K() == gate.K() && up.N() == gate.N(), gate.dense().name, " is ",
           gate.dense().value.shape.str(), ", ", up.dense().name, " ", up.dense().value.shape.str(),
           ", their input ", x_.shape.str());
  if (!made_) {
    const Tensor out =
        R1_BACKEND(ctx, residual_gated, (ResidualGated{.rows = {x_, norm_}, .gate = &gate, .up = &up}));
    if (out) return out;
  }
  const Tensor& in = normed(ctx);
  const Tensor out =
      R1_BACKEND(ctx, residual_gated, (ResidualGated{.rows = {in, {}}, .gate = &gate, .up = &up}));
  if (out) return out;
  const auto products = r1::matmuls(ctx, in, {&up, &gate});
  return swiglu(ctx, products[1], products[0]);
}

void ResidualStream::add(Context& ctx, const Tensor& term, const Norm& next) {
  norm_ = next;
  add_rms_norm(ctx, x_, term, *norm_.w, norm_.eps, normed_);
  made_ = true;
}

void ResidualStream::add_matmul(Context& ctx, const Tensor& y, const Weight& w, const Norm& next) {
  R1_CHECK(y.shape.rank() == 2 && y.dim(0) == x_.dim(0) && y.dim(1) == w.K() && w.N() == x_.dim(1),
           w.dense().name, " is ", w.dense().value.shape.str(), ", its input ", y.shape.str(),
           ", the stream ", x_.shape.str());
  if (!R1_BACKEND(ctx, residual_sum, (ResidualSum{.x = x_, .y = y, .w = &w})))
    return add(ctx, matmul(ctx, y, w, DType::f32), next);
  norm_ = next;
  made_ = false;
}

}  // namespace r1
