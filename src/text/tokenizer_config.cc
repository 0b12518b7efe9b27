#include "text/tokenizer_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace r1 {
namespace {

// Reads a string, an object with "content", or null.
std::string token_content(const Json& config, std::string_view field) {
  const Json* value = config.find(field);
  if (value == nullptr || value->is_null()) return {};
  return value->is_object() ? value->get_string("content") : value->string();
}

void fill_tokens(const Json& config, TokenizerConfig& out) {
  out.says_bos = out.says_bos || config.contains("bos_token");
  out.says_eos = out.says_eos || config.contains("eos_token");
  const std::string eos = token_content(config, "eos_token");
  if (!eos.empty() && std::ranges::find(out.all_eos, eos) == out.all_eos.end()) out.all_eos.push_back(eos);
  if (out.bos.empty()) out.bos = token_content(config, "bos_token");
  if (out.eos.empty()) out.eos = token_content(config, "eos_token");
  if (out.pad.empty()) out.pad = token_content(config, "pad_token");
}

std::optional<int64_t> count_at_least(const Json& config, std::string_view field, int64_t low) {
  const Json* value = config.find(field);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (value->integer() < low)
    value->fail(fmt::format("is {}; it must be at least {}", value->integer(), low));
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

}  // namespace r1
