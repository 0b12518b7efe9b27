// ops/init/init.h: random weights. Every backend has the bits of base/normal_numbers.h.
#pragma once

#include "base/normal_numbers.h"
#include "tensor/context.h"

namespace r1 {

// to[i] = number i of the stream times `scale`, rounded to f32. `to` is f32.
void fill_normal(Context& ctx, const Tensor& to, const NormalStream& stream, double scale);

}  // namespace r1
