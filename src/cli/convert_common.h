// cli/convert_common.h: what `r1 convert`, `r1 quantize` and `r1 imatrix` share.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "cli/commands.h"
#include "formats/json.h"
#include "model/quantize.h"

namespace r1 {

// Throws Error if `out` exists and is not to be replaced, or is the input itself or one of its files.
void check_model_output(const std::filesystem::path& in, const std::filesystem::path& out, bool force);

// True if the output is to be a GGUF file: its name ends in .gguf.
bool is_gguf_name(const std::filesystem::path& out);

// The tally as an object: bytes, bits per weight, and by type the number of tensors and weights, and the error.
Json tally_json(const QuantizeTally& tally);
// The same as lines for a person.
std::string tally_text(const QuantizeTally& tally);
std::string size_text(uint64_t bytes);  // "98.3 MB"

}  // namespace r1
