#include "engine/gguf_sampling.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "engine/generation_config.h"
#include "engine/sampling_config.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr std::string_view kPrefix = "general.sampling.";

struct SamplingKey {
  std::string_view gguf, field;   // behind the prefix; in generation_config.json
  float SamplingParams::*number;  // null: a count
  int64_t SamplingParams::*count;
};
constexpr SamplingKey kSamplingKeys[] = {
    {"temp", "temperature", &SamplingParams::temperature, nullptr},
    {"top_k", "top_k", nullptr, &SamplingParams::top_k},
    {"top_p", "top_p", &SamplingParams::top_p, nullptr},
    {"min_p", "min_p", &SamplingParams::min_p, nullptr},
    {"penalty_repeat", "repetition_penalty", &SamplingParams::repetition_penalty, nullptr},
};

// The settings as generation_config.json has them.
Json settings_of(const GgufMetadata& metadata) {
  Json out = Json::object();
  for (const SamplingKey& row : kSamplingKeys) {
    const std::string key = fmt::format("{}{}", kPrefix, row.gguf);
    if (!metadata.contains(key)) continue;
    if (row.count != nullptr) {
      out.set(row.field, metadata.get_int(key));
    } else {
      out.set(row.field, metadata.get_number(key));
    }
  }
  if (const Json* temperature = out.find("temperature");
      temperature != nullptr && temperature->number() == 0.0)
    out.set("do_sample", false);
  return out;
}

}  // namespace

SamplingParams read_gguf_sampling(const GgufMetadata& metadata, std::vector<std::string>& warnings) {
  SamplingParams out;
  // Parsed again, so that an impossible value is said with the file's name.
  read_sampling(parse_json(settings_of(metadata).dump(), metadata.source()), INT32_MAX, out);
  for (const std::string_view key : metadata.keys()) {
    if (!key.starts_with(kPrefix)) continue;
    if (std::ranges::find(kSamplingKeys, key.substr(kPrefix.size()), &SamplingKey::gguf) !=
        std::end(kSamplingKeys))
      continue;
    warnings.push_back(metadata.source() + ": " + shown(key) +
                       " is not applied: give the setting as an option");
  }
  return out;
}

std::vector<std::string> write_gguf_sampling(const std::filesystem::path& directory, int64_t vocab_size,
                                             GgufKeys& keys) {
  const GenerationConfig generation = load_generation_config(directory, vocab_size);
  SamplingParams rest = generation.sampling;
  const SamplingParams defaults;
  for (const SamplingKey& row : kSamplingKeys) {
    const std::string key = fmt::format("{}{}", kPrefix, row.gguf);
    if (row.count != nullptr) {
      if (rest.*row.count != defaults.*row.count) keys.set_signed(key, static_cast<int32_t>(rest.*row.count));
      rest.*row.count = defaults.*row.count;
    } else {
      if (rest.*row.number != defaults.*row.number) keys.set(key, rest.*row.number);
      rest.*row.number = defaults.*row.number;
    }
  }
  std::vector<std::string> notes;
  const std::string file = (directory / "generation_config.json").string();
  if (!(rest == defaults))
    notes.push_back(file +
                    ": sampling settings other than temperature, top_k, top_p, min_p and repetition_penalty "
                    "are not kept: "
                    "GGUF has no place for them");
  if (generation.max_new_tokens > 0)
    notes.push_back(fmt::format("{}: max_new_tokens = {} is not kept: GGUF has no place for it", file,
                                generation.max_new_tokens));
  return notes;
}

Json gguf_generation_config(const GgufMetadata& metadata, const std::vector<int32_t>& stops) {
  Json out = settings_of(metadata);
  if (out.contains("temperature") && !out.contains("do_sample")) out.set("do_sample", true);
  out.set("eos_token_id", Json::array_of(stops));
  return out;
}

}  // namespace r1
