#include "ops/optim/optim.h"

#include <cmath>
#include <new>

#include "base/math.h"
#include "ops/backend.h"
#include "ops/optim/optim_backend.h"

namespace r1 {
namespace {

// 1 - b^step in double.
double bias_correction(double b, int64_t step) {
  return b > 0 ? 1.0 - exact_pow(b, static_cast<double>(step)) : 1.0;
}

// The gradients that there are, listed in the host's arena.
std::span<const Tensor> gradients_of(Context& ctx, std::span<Parameter* const> parameters) {
  auto* list = ctx.host().array<Tensor>(std::ssize(parameters));
  size_t count = 0;
  for (const Parameter* p : parameters) {
    if (p->grad) new (list + count++) Tensor(p->grad);
  }
  return {list, count};
}

}  // namespace

void adamw_update(Context& ctx, std::span<const AdamWItem> items, const AdamW& how, float grad_scale) {
  R1_CHECK(how.step >= 1, "step ", how.step);
  const AdamConstants constants{.lr = how.lr,
                                .b1 = how.beta1,
                                .b2 = how.beta2,
                                .one_less_b1 = 1.0f - how.beta1,
                                .one_less_b2 = 1.0f - how.beta2,
                                .c1 = static_cast<float>(bias_correction(how.beta1, how.step)),
                                .c2 = static_cast<float>(bias_correction(how.beta2, how.step)),
                                .eps = how.eps,
                                .grad_scale = grad_scale};
  const OpScope scope(ctx);
  auto* updates = ctx.host().array<AdamUpdate>(std::ssize(items));
  for (size_t i = 0; i < items.size(); ++i) {
    const AdamWItem& item = items[i];
    Parameter& p = *item.parameter;
    const int64_t n = p.value.count();
    R1_CHECK(p.grad && p.grad.count() == n && item.m.count() == n && item.v.count() == n, p.name, ": value ",
             p.value.shape.str(), ", m ", item.m.shape.str(), ", v ", item.v.shape.str());
    new (updates + i)
        AdamUpdate{.w = p.value, .grad = p.grad, .m = item.m, .v = item.v, .weight_decay = item.weight_decay};
    ++p.version;
  }
  R1_BACKEND(ctx, adam_updates, (AdamUpdates{.updates = {updates, items.size()}, .constants = constants}));
}

void adamw_update(Context& ctx, Parameter& p, const Tensor& m, const Tensor& v, const AdamW& how,
                  float grad_scale) {
  const AdamWItem item{.parameter = &p, .m = m, .v = v, .weight_decay = how.weight_decay};
  adamw_update(ctx, std::span(&item, 1), how, grad_scale);
}

double gradient_norm(Context& ctx, std::span<Parameter* const> parameters) {
  const OpScope scope(ctx);
  const GradientNorm call{.gradients = gradients_of(ctx, parameters)};
  return std::sqrt(R1_BACKEND(ctx, sum_of_squares, call));
}

void zero_gradients(Context& ctx, std::span<Parameter* const> parameters) {
  const OpScope scope(ctx);
  const ZeroGradients call{.gradients = gradients_of(ctx, parameters)};
  R1_BACKEND(ctx, zero_gradients, call);
}

}  // namespace r1
