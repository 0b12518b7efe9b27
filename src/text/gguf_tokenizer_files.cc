#include "text/gguf_tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/gguf_tokenizer_parts.h"

namespace r1 {
namespace {

Json added_tokens(const TokenizerSpec& spec) {
  Json out = Json::array();
  for (const AddedToken& token : spec.added) {
    Json row = Json::object();
    row.set("id", token.id).set("content", token.content).set("single_word", token.single_word);
    row.set("lstrip", token.lstrip).set("rstrip", token.rstrip).set("normalized", token.normalized);
    row.set("special", token.special);
    out.push_back(std::move(row));
  }
  return out;
}

// The tokens before and after a text; null if there are none.
Json post_processor(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty()) return {};
  Json known = Json::object(), single = Json::array();
  const auto add = [&](int32_t id) {
    const auto token = std::ranges::find(spec.added, id, &AddedToken::id);
    const auto word = std::ranges::find(spec.vocab, id, &std::pair<std::string, int32_t>::second);
    const std::string text = token != spec.added.end() ? token->content : word->first;
    Json row = Json::object();
    row.set("id", text).set("ids", Json::array().push_back(id)).set("tokens", Json::array().push_back(text));
    known.set(text, std::move(row));
    Json place = Json::object(), part = Json::object();
    place.set("id", text).set("type_id", 0);
    part.set("SpecialToken", std::move(place));
    single.push_back(std::move(part));
  };
  for (const int32_t id : spec.prefix) add(id);
  Json text = Json::object(), part = Json::object();
  text.set("id", "A").set("type_id", 0);
  part.set("Sequence", std::move(text));
  single.push_back(std::move(part));
  for (const int32_t id : spec.suffix) add(id);
  Json second = Json::object(), both = Json::object();
  second.set("id", "B").set("type_id", 1);
  both.set("Sequence", std::move(second));
  Json out = Json::object();
  out.set("type", "TemplateProcessing").set("single", single);
  out.set("pair", Json(single).push_back(std::move(both))).set("special_tokens", std::move(known));
  return out;
}

// Written as text, since Json::set looks for each of the many keys.
std::string model_text(const GgufTokenizerParts& parts) {
  std::string vocab, merges;
  for (const auto& [token, id] : parts.spec.vocab)
    vocab += fmt::format("{}{}:{}", vocab.empty() ? "" : ",", Json(token).dump(), id);
  for (const auto& [left, right] : parts.spec.merges)
    merges += fmt::format("{}[{},{}]", merges.empty() ? "" : ",", Json(left).dump(), Json(right).dump());
  return fmt::format(
      R"({{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,)"
      R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{{{}}},"merges":[{}]}})",
      parts.rules.ignore_merges, vocab, merges);
}

std::string tokenizer_json(const GgufMetadata& metadata) {
  const GgufTokenizerParts parts = read_gguf_tokenizer_parts(metadata);
  return fmt::format(
      R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":{},"normalizer":{},"pre_tokenizer":{},)"
      R"("post_processor":{},"decoder":{{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,)"
      R"("use_regex":true}},"model":{}}})"
      "\n",
      added_tokens(parts.spec).dump(), parts.rules.normalizer.dump(), parts.rules.pre_tokenizer.dump(),
      post_processor(parts.spec).dump(), model_text(parts));
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
