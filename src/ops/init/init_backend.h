// ops/init/init_backend.h: what init.cc asks of a backend. Private to this folder.
#pragma once

#include "base/normal_numbers.h"
#include "tensor/context.h"

namespace r1 {

struct FillNormal {
  Tensor to;
  NormalStream stream;
  double scale = 0;
};

namespace cpu {
void fill_normal(Context& ctx, const FillNormal& call);
}  // namespace cpu

namespace cuda {
void fill_normal(Context& ctx, const FillNormal& call);
}  // namespace cuda

}  // namespace r1
