// ops/matmul/frozen_rows_cuda.h: reads a frozen matrix from where it is stored into a device's memory. Private to this
// folder.
#pragma once

#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1::cuda {

// rows [N, K], f32 or bf16: the stored numbers, rounded to the parameter's type and then to that of `rows`. All threads
// convert. Any stream may read the rows afterwards. Throws Error if the file cannot be read.
void read_frozen_rows(Context& ctx, const Parameter& parameter, const Tensor& rows);

}  // namespace r1::cuda
