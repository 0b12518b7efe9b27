// model/weight_formats.h: the formats in which a model's matrices are stored, without their values: of a file, or
// of the file that `r1 quantize` would make. Memory and speed follow from them (model/memory.h, model/plan.h).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "model/config.h"
#include "tensor/numerics.h"
#include "tensor/stored.h"

namespace r1 {

struct QuantizePreset;  // model/quantize_plan.h

struct WeightFormats {
  std::map<std::string, Format, std::less<>> by_name;  // by checkpoint name
  Format rest = Format::f32;                           // of names that are not there: the commonest

  Format of(std::string_view name) const;
  bool has_blocks() const;
};

// Every matrix in the format of the type: f32 or bf16.
WeightFormats uniform_formats(DType dtype);
// Returns the formats of a model on disk, whose sizes are `config`. Opens its files. Throws Error.
WeightFormats stored_formats(const std::filesystem::path& model, const ModelConfig& config);
// Returns those of the file that `r1 quantize --type PRESET` makes of a model of these sizes. Throws Error if
// no matrix fits a block of the preset.
WeightFormats quantised_formats(const ModelConfig& config, const QuantizePreset& preset);

// The formats as the numerics holds them: cpu-q8act and cuda-bf16 as they are, the others dequantised. All are bf16
// numbers in the bf16 numerics of the CPU.
WeightFormats read_formats(WeightFormats formats, Numerics numerics);

}  // namespace r1
