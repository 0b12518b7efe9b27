// formats/fp8_scales.h: the pairs of tensors in which a checkpoint has FP8 weights, as DeepSeek-V3 and R1
// have them:
//
//   NAME            F8_E4M3 [N, K]
//   NAME_scale_inv  F32 (or BF16, F16) [ceil(N / 128), ceil(K / 128)]
//
// tensor/fp8.h says how their values are computed.
#pragma once

#include <string>
#include <string_view>

#include "formats/safetensors.h"

namespace r1 {

std::string fp8_scales_name(std::string_view weight);

// Throws Error "SOURCE: tensor NAME ..." if `weight` is no matrix, or if `scales` (nullptr: there is no such
// tensor) has another shape or is not of numbers. `source` is the weight's file, `scales_source` the scales'.
void check_fp8_pair(const TensorInfo& weight, const std::string& source, const TensorInfo* scales,
                    const std::string& scales_source);

}  // namespace r1
