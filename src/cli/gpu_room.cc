#include "cli/gpu_room.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_text.h"
#include "base/error.h"
#include "cli/common.h"
#include "model/gguf_config.h"
#include "model/memory.h"
#include "model/plan.h"
#include "model/quantize_plan.h"
#include "tensor/gpu.h"

namespace r1 {

std::string gpu_room_error(const ModelConfig& config, const WeightFormats& formats, Numerics numerics,
                           std::string_view gpu, int64_t free) {
  const int64_t needed = held_matrices(config, numerics, read_formats(formats, numerics)).all;
  if (needed <= free) return "";
  std::string text = fmt::format("the weights need {} in {}, and {} has {} free: ", byte_text(needed),
                                 name_of(numerics), gpu, byte_text(free));
  if (row_of(numerics).product != Product::tensor_bf16) return text + "use --dtype bf16, or --device cpu";
  // Keys, values and activations want room, too.
  const auto fits = [&](const TypeSize& type) {
    const bool stored = type.name == "F32" || type.name == "BF16" || type.name == "FP8";
    return !stored && type.bytes < free - free / 8 && type.bytes < needed;
  };
  const std::vector<TypeSize> types = type_sizes(config);
  const auto best = std::ranges::find_if(types, fits);
  if (best == types.end()) return text + "no type of weights fits: use --device cpu";
  if (formats.has_blocks())
    return text + fmt::format("a file in {} would fit ({}); or use --device cpu", best->name,
                              byte_text(best->bytes));
  return text +
         fmt::format("--quantize {} takes {}; or use --device cpu", best->name, byte_text(best->bytes));
}

void check_gpu_room(const CommonOptions& common, const std::filesystem::path& model, Numerics numerics) {
  Memory& memory = device_memory(common);
  if (memory.device() == Device::cpu) return;
  const ModelConfig config = load_model_config(model);
  const WeightFormats formats =
      common.quantize.empty() ? stored_formats(model, config)
                              : quantised_formats(config, quantize_preset(common.quantize, "--quantize"));
  const std::string error =
      gpu_room_error(config, formats, numerics, find_gpu().found ? find_gpu().found->name : "the GPU",
                     static_cast<int64_t>(memory.free_bytes()));
  if (!error.empty()) throw Error(fmt::format("{}: {}", model.string(), error));
}

}  // namespace r1
