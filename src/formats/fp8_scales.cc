#include "formats/fp8_scales.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/integers.h"
#include "formats/shown.h"
#include "tensor/fp8.h"

namespace r1 {

std::string fp8_scales_name(std::string_view weight) {
  return fmt::format("{}_scale_inv", weight);
}

void check_fp8_pair(const TensorInfo& weight, const std::string& source, const TensorInfo* scales,
                    const std::string& scales_source) {
  const std::string name = shown(weight.name), scales_name = shown(fp8_scales_name(weight.name));
  if (weight.shape.size() != 2) {
    throw Error(fmt::format("{}: tensor {} is F8_E4M3 of shape {}; FP8 weights must be matrices", source,
                            name, shape_string(weight.shape)));
  }
  if (scales == nullptr) {
    throw Error(fmt::format(
        "{}: tensor {} is F8_E4M3, and its scales, tensor {}, are missing: download the checkpoint again",
        source, name, scales_name));
  }
  const std::vector<int64_t> want = {ceil_div(weight.shape[0], kFp8Block),
                                     ceil_div(weight.shape[1], kFp8Block)};
  if (scales->shape != want) {
    throw Error(fmt::format("{}: tensor {} is {}; the scales of {}, which is {}, must be {}", scales_source,
                            scales_name, shape_string(scales->shape), name, shape_string(weight.shape),
                            shape_string(want)));
  }
  if (scales->type != StoredType::f32 && scales->type != StoredType::bf16 &&
      scales->type != StoredType::f16) {
    throw Error(fmt::format("{}: tensor {} is {}; scales must be F32, BF16 or F16", scales_source,
                            scales_name, name_of(scales->type)));
  }
}

}  // namespace r1
