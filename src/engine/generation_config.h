// engine/generation_config.h: generation_config.json: the sampling settings that a model asks for.
//
// Every field that transformers or vLLM apply is applied (sampling_config.h, max_new_tokens, eos_token_id). A
// field that neither of them applies is ignored. Fields that one of them applies and r1 cannot are named in
// one warning. warning.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ops/sample/sample.h"

namespace r1 {

struct GenerationConfig {
  // do_sample false is temperature 0. A file with neither field samples at temperature 1 without filters, as
  // in vLLM.
  SamplingParams sampling;
  int64_t max_new_tokens = 0;  // 0: the file has none; otherwise sampling.max_length is 0
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // any of them ends a text; ids below vocab_size
  std::vector<std::string> warnings;   // lines, each with the file's name
};

// If the file is missing, config.json's fields of these names count, as in transformers and vLLM. Throws
// Error that names the field if a value is impossible (temperature below 0) or a token id that matters is not
// below `vocab_size`.
GenerationConfig load_generation_config(const std::filesystem::path& directory, int64_t vocab_size);

}  // namespace r1
