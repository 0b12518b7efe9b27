#include "cli/gpu_room.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_text.h"
#include "base/error.h"
#include "cli/common.h"
#include "model/memory.h"
#include "model/plan.h"
#include "model/quantize_plan.h"
#include "tensor/gpu.h"

namespace r1 {

std::string gpu_room_error(const ModelConfig& config, const WeightFormats& formats, Numerics numerics,
                           std::string_view gpu, int64_t free) {
  const auto held_in = [&](Numerics n) { return held_matrices(config, n, read_formats(formats, n)).all; };
  const int64_t needed = held_in(numerics);
  if (needed <= free) return "";
  const int64_t room = free - free / 8;  // keys, values and activations take the rest
  const bool in_f32 = numerics != Numerics::cuda_bf16;
  const auto advice = [&]() -> std::string {
    if (const int64_t in_bf16 = held_in(Numerics::cuda_bf16); in_f32 && in_bf16 < room)
      return fmt::format("--dtype bf16 takes {}", byte_text(in_bf16));
    for (const TypeSize& type : type_sizes(config)) {
      const bool made = type.name != "F32" && type.name != "BF16" && type.name != "FP8";  // by r1 quantize
      if (!made || type.bytes >= std::min(room, needed)) continue;
      if (formats.has_blocks())
        return fmt::format("a file in {} would fit, with {}", type.name, byte_text(type.bytes));
      return fmt::format("{}--quantize {} takes {}", in_f32 ? "--dtype bf16 " : "", type.name,
                         byte_text(type.bytes));
    }
    return "no type of weights fits";
  };
  return fmt::format("the weights need {} in {}, and {} has {} free: {}; or use --device cpu",
                     byte_text(needed), name_of(numerics), gpu, byte_text(free), advice());
}

void check_gpu_room(const CommonOptions& common, const std::filesystem::path& model,
                    const ModelConfig& config, Numerics numerics) {
  Memory& memory = device_memory(common);
  if (memory.device() == Device::cpu) return;
  const WeightFormats formats =
      common.quantize.empty() ? stored_formats(model, config)
                              : quantised_formats(config, quantize_preset(common.quantize, "--quantize"));
  const std::string error =
      gpu_room_error(config, formats, numerics, find_gpu().found ? find_gpu().found->name : "the GPU",
                     static_cast<int64_t>(memory.free_bytes()));
  if (!error.empty()) throw Error(fmt::format("{}: {}", model.string(), error));
}

}  // namespace r1
