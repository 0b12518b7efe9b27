// engine/gguf_sampling.h: sampling settings in a GGUF file (general.sampling.*) and in
// generation_config.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "formats/gguf_writer.h"
#include "formats/json.h"
#include "ops/sample/sample.h"

namespace r1 {

// The settings of a file; `warnings` gets a line for each key that r1 does not apply. Throws Error for an
// impossible value.
SamplingParams read_gguf_sampling(const GgufMetadata& metadata, std::vector<std::string>& warnings);

// Sets the keys for the settings of a directory's generation_config.json that are not the default. Returns a
// line for each setting that GGUF has no place for.
std::vector<std::string> write_gguf_sampling(const std::filesystem::path& directory, int64_t vocab_size,
                                             GgufKeys& keys);

// generation_config.json with a file's settings and these stop tokens.
Json gguf_generation_config(const GgufMetadata& metadata, const std::vector<int32_t>& stops);

}  // namespace r1
