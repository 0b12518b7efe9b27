#include "text/gguf_tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/shown.h"
#include "text/gguf_tokenizer_parts.h"
#include "text/tokenizer_writer.h"

namespace r1 {
namespace {

// In tokenizer.json the merges have an order. Two different pieces of one score have none: there the place in
// the text decides.
void require_an_order(const GgufMetadata& metadata, const TokenizerSpec& spec) {
  const auto piece = [&](size_t i) { return spec.merges[i].first + spec.merges[i].second; };
  for (size_t i = 1; i < spec.ranks.size(); ++i) {
    if (spec.ranks[i] == spec.ranks[i - 1] && piece(i) != piece(i - 1)) {
      metadata.fail("tokenizer.ggml.scores",
                    fmt::format("gives {} and {} the same score: a tokenizer.json, which orders its merges, "
                                "cannot hold this vocabulary",
                                shown(piece(i - 1)), shown(piece(i))));
    }
  }
}

std::string tokenizer_json(const GgufMetadata& metadata) {
  const GgufTokenizerParts parts = read_gguf_tokenizer_parts(metadata);
  require_an_order(metadata, parts.spec);
  return tokenizer_json_text(parts.spec, {parts.rules.normalizer, parts.rules.pre_tokenizer, parts.decoder});
}

std::string tokenizer_config(const GgufMetadata& metadata) {
  Json out = Json::object();
  out.set("tokenizer_class", "PreTrainedTokenizerFast").set("clean_up_tokenization_spaces", false);
  for (const char* name : {"bos_token", "eos_token"}) out.set(name, nullptr);
  const Json special = read_gguf_special_texts(metadata);
  for (const auto& [name, text] : special.members()) out.set(name, text);
  const std::vector<ChatTemplates::Named> templates = read_gguf_named_templates(metadata);
  if (templates.size() == 1 && templates[0].name == "default") {
    out.set("chat_template", templates[0].text);
  } else if (!templates.empty()) {
    Json list = Json::array();
    for (const ChatTemplates::Named& named : templates) {
      Json row = Json::object();
      row.set("name", named.name).set("template", named.text);
      list.push_back(std::move(row));
    }
    out.set("chat_template", std::move(list));
  }
  return out.dump(2) + "\n";
}

}  // namespace

std::map<std::string, std::string> gguf_tokenizer_files(const GgufMetadata& metadata) {
  return {{"tokenizer.json", tokenizer_json(metadata)},
          {"tokenizer_config.json", tokenizer_config(metadata)}};
}

}  // namespace r1
