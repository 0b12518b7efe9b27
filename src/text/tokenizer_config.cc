#include "text/tokenizer_config.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace r1 {
namespace {

// A string, or an object with "content", or null.
std::string token_content(const Json& config, std::string_view field) {
  const Json* value = config.find(field);
  if (value == nullptr || value->is_null()) return {};
  return value->is_object() ? value->get_string("content") : value->string();
}

void fill_tokens(const Json& config, TokenizerConfig& out) {
  if (out.bos.empty()) out.bos = token_content(config, "bos_token");
  if (out.eos.empty()) out.eos = token_content(config, "eos_token");
  if (out.pad.empty()) out.pad = token_content(config, "pad_token");
}

int32_t to_token_id(const Json& value) {
  const int64_t id = value.integer();
  if (id < 0 || id > INT32_MAX) value.fail(fmt::format("is {}, which is no token id", id));
  return static_cast<int32_t>(id);
}

std::optional<double> number_between(const Json& config, std::string_view field, double low, double high) {
  const Json* value = config.find(field);
  if (value == nullptr || value->is_null()) return std::nullopt;
  const double number = value->number();
  if (!(number >= low && number <= high))
    value->fail(fmt::format("is {}, {} to {} is wanted", number, low, high));
  return number;
}

std::optional<int64_t> count_at_least(const Json& config, std::string_view field, int64_t low) {
  const Json* value = config.find(field);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (value->integer() < low) value->fail(fmt::format("is {}, at least {} is wanted", value->integer(), low));
  return value->integer();
}

}  // namespace

TokenizerConfig load_tokenizer_config(const std::filesystem::path& directory) {
  TokenizerConfig out;
  const auto main = directory / "tokenizer_config.json";
  if (std::filesystem::exists(main)) {
    const Json config = read_json(main);
    fill_tokens(config, out);
    if (const Json* add = config.find("add_bos_token"); add != nullptr && !add->is_null())
      out.add_bos = add->boolean();
    if (const Json* length = config.find("model_max_length"); length != nullptr && length->is_integer()) {
      out.model_max_length = count_at_least(config, "model_max_length", 1);
    }
  }
  const auto map = directory / "special_tokens_map.json";
  if (std::filesystem::exists(map)) fill_tokens(read_json(map), out);
  return out;
}

GenerationConfig load_generation_config(const std::filesystem::path& directory) {
  GenerationConfig out;
  const auto path = directory / "generation_config.json";
  if (!std::filesystem::exists(path)) return out;
  const Json config = read_json(path);
  if (const Json* sample = config.find("do_sample"); sample != nullptr && !sample->is_null()) {
    out.do_sample = sample->boolean();
  }
  out.temperature = number_between(config, "temperature", 0, 1000);
  out.top_p = number_between(config, "top_p", 0, 1);
  out.top_k = count_at_least(config, "top_k", 0);
  out.repetition_penalty = number_between(config, "repetition_penalty", 0, 1000);
  out.max_new_tokens = count_at_least(config, "max_new_tokens", 0);
  if (const Json* bos = config.find("bos_token_id"); bos != nullptr && !bos->is_null()) {
    out.bos_token_id = to_token_id(*bos);
  }
  if (const Json* eos = config.find("eos_token_id"); eos != nullptr && !eos->is_null()) {
    if (eos->is_array()) {
      for (const Json& id : eos->items()) out.eos_token_ids.push_back(to_token_id(id));
    } else {
      out.eos_token_ids.push_back(to_token_id(*eos));
    }
  }
  return out;
}

}  // namespace r1
