#include "engine/generation_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/sampling_config.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "model/config.h"

namespace r1 {
namespace {

// The condition under which a field's value requests something that r1 does not do.
enum class Asks : uint8_t {
  not_null,      // any value except false, [] and {}
  not_one,       // a number other than 1
  not_zero,      // a number other than 0
  above_one,     // a number above 1
  below_one,     // a number below 1, when sampling
  inside_0_to_1  // a number between 0 and 1, when sampling
};

struct Unsupported {
  const char* name;
  Asks asks;
};
// transformers 4.57 and 5.24 apply these fields and r1 does not. All other fields change no token: they
// select caches, compilation, outputs or assistants.
constexpr Unsupported kUnsupported[] = {{"num_beams", Asks::above_one},
                                        {"num_beam_groups", Asks::above_one},
                                        {"diversity_penalty", Asks::not_zero},
                                        {"num_return_sequences", Asks::above_one},
                                        {"constraints", Asks::not_null},
                                        {"force_words_ids", Asks::not_null},
                                        {"penalty_alpha", Asks::not_zero},
                                        {"dola_layers", Asks::not_null},
                                        {"guidance_scale", Asks::not_one},
                                        {"typical_p", Asks::below_one},
                                        {"top_h", Asks::below_one},
                                        {"epsilon_cutoff", Asks::inside_0_to_1},
                                        {"eta_cutoff", Asks::inside_0_to_1},
                                        {"encoder_repetition_penalty", Asks::not_one},
                                        {"encoder_no_repeat_ngram_size", Asks::not_zero},
                                        {"exponential_decay_length_penalty", Asks::not_null},
                                        {"forced_bos_token_id", Asks::not_null},
                                        {"forced_eos_token_id", Asks::not_null},
                                        {"stop_strings", Asks::not_null},
                                        {"max_time", Asks::not_null},
                                        {"token_healing", Asks::not_null},
                                        {"watermarking_config", Asks::not_null}};

bool is_empty(const Json& value) {
  return (value.is_bool() && !value.boolean()) ||
         ((value.is_array() || value.is_object()) && value.size() == 0);
}

bool asks(const Json& value, Asks when, bool sampling) {
  if (value.is_null() || is_empty(value)) return false;
  if (when == Asks::not_null || !value.is_number()) return true;
  const double x = value.number();
  switch (when) {
    case Asks::not_one:
      return x != 1.0;
    case Asks::not_zero:
      return x != 0.0;
    case Asks::above_one:
      return x > 1.0;
    case Asks::below_one:
      return sampling && x < 1.0;
    case Asks::inside_0_to_1:
      return sampling && x > 0.0 && x < 1.0;
    case Asks::not_null:
      break;
  }
  return true;
}

// Returns for example "num_beams = 4". Long values are shortened.
std::string as_asked(const char* name, const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump();
  if (text.size() > kLongest) {
    text.resize(kLongest);
    text += "...";
  }
  return fmt::format("{} = {}", name, shown(text));
}

void warn_of_unsupported(const Json& json, GenerationConfig& out) {
  std::vector<std::string> found;
  for (const Unsupported& row : kUnsupported) {
    const Json* value = json.find(row.name);
    if (value != nullptr && asks(*value, row.asks, out.sampling.temperature > 0.0f))
      found.push_back(as_asked(row.name, *value));
  }
  if (found.empty()) return;
  out.warnings.push_back(fmt::format("{} asks for {}, which r1 does not do; it samples without {}",
                                     json.source(), fmt::join(found, ", "),
                                     found.size() == 1 ? "it" : "them"));
}

// Removes presence and frequency penalties, which transformers and vLLM take from requests only.
Json without_request_fields(const Json& json) {
  Json out = json;
  for (const char* name : {"presence_penalty", "frequency_penalty"}) {
    if (out.contains(name)) out.set(name, nullptr);
  }
  return out;
}

}  // namespace

GenerationConfig load_generation_config(const std::filesystem::path& directory, int64_t vocab_size) {
  GenerationConfig out;
  const auto own = directory / "generation_config.json", model = directory / "config.json";
  const bool has_own = std::filesystem::exists(own);
  if (!has_own && !std::filesystem::exists(model)) return out;
  const Json json = read_json(has_own ? own : model);
  json.members();  // throws unless it is an object
  read_sampling(without_request_fields(json), vocab_size, out.sampling);
  const Json* most = json.find("max_new_tokens");
  if (most != nullptr && !most->is_null()) {
    out.max_new_tokens = most->integer();
    if (out.max_new_tokens < 1) most->fail(fmt::format("is {}; it must be at least 1", out.max_new_tokens));
    out.sampling.max_length = 0;  // max_new_tokens replaces max_length, as in transformers
  }
  // transformers writes its own default into the file too, so that value does not count as a setting.
  constexpr int64_t kDefaultLength = 20;
  if (out.sampling.max_length == kDefaultLength) out.sampling.max_length = 0;
  if (has_own) {  // the fields of config.json are read with the model
    std::vector<int32_t> bos;
    std::vector<std::string> nothing;
    read_special_ids(json, "bos_token_id", vocab_size, bos, nothing);
    if (!bos.empty()) out.bos_token_id = bos.front();
    read_special_ids(json, "eos_token_id", vocab_size, out.eos_token_ids, out.warnings);
  }
  warn_of_unsupported(json, out);
  return out;
}

}  // namespace r1
