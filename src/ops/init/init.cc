#include "ops/init/init.h"

#include "ops/backend.h"
#include "ops/init/init_backend.h"

namespace r1 {

void fill_normal(Context& ctx, const Tensor& to, const NormalStream& stream, double scale) {
  R1_BACKEND(ctx, fill_normal, (FillNormal{.to = to, .stream = stream, .scale = scale}));
}

}  // namespace r1
