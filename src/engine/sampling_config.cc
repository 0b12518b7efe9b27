#include "engine/sampling_config.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "engine/sampling_settings.h"

namespace r1 {
namespace {

const Json* given(const Json& json, std::string_view name) {
  const Json* field = json.find(name);
  return field == nullptr || field->is_null() ? nullptr : field;
}

void read_number(const Json& json, std::string_view name, const SamplingBounds& bounds, float& out) {
  const Json* field = given(json, name);
  if (field == nullptr) return;
  const double value = field->number();
  if (!(value >= bounds.low && value <= bounds.high))
    field->fail(fmt::format("is {}; it must be between {} and {}", value, bounds.low, bounds.high));
  out = static_cast<float>(value);
}

void read_count(const Json& json, std::string_view name, int64_t low, int64_t& out) {
  const Json* field = given(json, name);
  if (field == nullptr) return;
  // Some tools write an integer as a double: "top_k": 50.0.
  const double value = field->number();
  constexpr double kMost = 1e9;
  if (!(value >= static_cast<double>(low) && value <= kMost) ||
      value != static_cast<double>(static_cast<int64_t>(value)))
    field->fail(fmt::format("is {}; it must be a whole number between {} and {:.0f}", value, low, kMost));
  out = static_cast<int64_t>(value);
}

// A minimum of new tokens takes precedence over a minimum length, as in transformers. Either one in `json`
// replaces both.
void read_shortest(const Json& json, SamplingParams& params) {
  const bool fresh = given(json, "min_tokens") != nullptr || given(json, "min_new_tokens") != nullptr;
  if (fresh || given(json, "min_length") != nullptr) params.min_new_tokens = params.min_length = 0;
  read_count(json, "min_tokens", 0, params.min_new_tokens);
  read_count(json, "min_new_tokens", 0, params.min_new_tokens);
  if (!fresh) read_count(json, "min_length", 0, params.min_length);
}

int32_t read_id(const Json& value, int64_t vocab_size) {
  const int64_t id = value.integer();
  if (id < 0 || id >= vocab_size)
    value.fail(fmt::format("is {}; the model's token ids are 0 to {}", id, vocab_size - 1));
  return static_cast<int32_t>(id);
}

std::vector<int32_t> read_ids(const Json& array, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (const Json& item : array.items()) ids.push_back(read_id(item, vocab_size));
  return ids;
}

std::vector<int32_t> read_run(const Json& array, int64_t vocab_size) {
  if (array.size() == 0) array.fail("is empty; it must have at least one token id");
  return read_ids(array, vocab_size);
}

// Reads bad_words_ids: [[ids], ...] and sequence_bias: [[[ids], bias], ...].
void read_biases(const Json& json, int64_t vocab_size, SamplingParams& params) {
  const Json* words = given(json, "bad_words_ids");
  const Json* biases = given(json, "sequence_bias");
  if (words == nullptr && biases == nullptr) return;
  params.sequence_bias.clear();
  if (words != nullptr) {
    for (const Json& word : words->items()) {
      params.sequence_bias.push_back(
          {.tokens = read_run(word, vocab_size), .bias = -std::numeric_limits<float>::infinity()});
    }
  }
  if (biases == nullptr) return;
  for (const Json& entry : biases->items()) {
    if (entry.size() != 2) entry.fail("must be [[token ids], bias]");
    const double bias = entry.at(1).number();
    if (!(bias >= -1e6 && bias <= 1e6))
      entry.at(1).fail(fmt::format("is {}; it must be between -1000000 and 1000000", bias));
    params.sequence_bias.push_back(
        {.tokens = read_run(entry.at(0), vocab_size), .bias = static_cast<float>(bias)});
  }
}

}  // namespace

std::span<const std::string> sampling_fields() {
  static const std::array<std::string, 17> names = {"do_sample",
                                                    "temperature",
                                                    "top_k",
                                                    "top_p",
                                                    "min_p",
                                                    "repetition_penalty",
                                                    "presence_penalty",
                                                    "frequency_penalty",
                                                    "no_repeat_ngram_size",
                                                    "min_new_tokens",
                                                    "min_tokens",
                                                    "min_length",
                                                    "max_length",
                                                    "suppress_tokens",
                                                    "begin_suppress_tokens",
                                                    "bad_words_ids",
                                                    "sequence_bias"};
  return names;
}

void read_sampling(const Json& json, int64_t vocab_size, SamplingParams& params) {
  read_number(json, "temperature", kTemperatureBounds, params.temperature);
  if (const Json* sample = given(json, "do_sample")) {
    if (!sample->boolean()) {
      params.temperature = 0.0f;
    } else if (params.temperature == 0.0f && given(json, "temperature") == nullptr) {
      params.temperature = 1.0f;
    }
  }
  read_count(json, "top_k", -1, params.top_k);
  if (params.top_k < 0) params.top_k = 0;  // vLLM writes -1 for "off"
  read_number(json, "top_p", kShareBounds, params.top_p);
  read_number(json, "min_p", kShareBounds, params.min_p);
  read_number(json, "repetition_penalty", kRepetitionBounds, params.repetition_penalty);
  read_number(json, "presence_penalty", kPenaltyBounds, params.presence_penalty);
  read_number(json, "frequency_penalty", kPenaltyBounds, params.frequency_penalty);
  read_count(json, "no_repeat_ngram_size", 0, params.no_repeat_ngram);
  read_shortest(json, params);
  read_count(json, "max_length", 0, params.max_length);
  if (const Json* ids = given(json, "suppress_tokens")) params.suppress_tokens = read_ids(*ids, vocab_size);
  if (const Json* ids = given(json, "begin_suppress_tokens"))
    params.begin_suppress_tokens = read_ids(*ids, vocab_size);
  read_biases(json, vocab_size, params);
}

}  // namespace r1
