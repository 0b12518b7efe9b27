// engine/sampling_config.h: sampling settings in JSON, by the names that transformers and vLLM give them.
// read_sampling() reads both the rows of `r1 generate` and generation_config.json.
#pragma once

#include <span>
#include <string>

#include "formats/json.h"
#include "ops/sample/sample.h"

namespace r1 {

// The names that read_sampling() knows: do_sample, temperature, top_k, top_p, min_p, repetition_penalty,
// presence_penalty, frequency_penalty, no_repeat_ngram_size, min_new_tokens and min_tokens (the same),
// min_length, max_length, suppress_tokens, begin_suppress_tokens, bad_words_ids, sequence_bias.
std::span<const std::string> sampling_fields();

// Sets in `params` the fields of the object `json`. A field that is absent or null leaves its setting alone;
// a field of another name is ignored. do_sample false is temperature 0, whatever temperature is; do_sample
// true without a temperature turns temperature 0 into 1. Throws Error that names the field if a value is out
// of range or a token id is not below `vocab_size`.
//
// A row's max_tokens is not a sampling parameter: it goes into Request::max_tokens, and the caller sets
// params.max_length to 0 unless the row has a max_length of its own.
void read_sampling(const Json& json, int64_t vocab_size, SamplingParams& params);

}  // namespace r1
