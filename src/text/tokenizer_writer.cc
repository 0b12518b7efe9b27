#include "text/tokenizer_writer.h"

#include <fmt/format.h>

#include <algorithm>

namespace r1 {
namespace {

Json added_token_rows(const TokenizerSpec& spec) {
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
Json post_processor_of(const TokenizerSpec& spec) {
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
std::string model_text(const TokenizerSpec& spec) {
  std::string vocab, merges;
  for (const auto& [token, id] : spec.vocab)
    vocab += fmt::format("{}{}:{}", vocab.empty() ? "" : ",", Json(token).dump(), id);
  for (const auto& [left, right] : spec.merges)
    merges += fmt::format("{}[{},{}]", merges.empty() ? "" : ",", Json(left).dump(), Json(right).dump());
  return fmt::format(
      R"({{"type":"BPE","dropout":null,"unk_token":{},"continuing_subword_prefix":null,"end_of_word_suffix":null,)"
      R"("fuse_unk":{},"byte_fallback":{},"ignore_merges":{},"vocab":{{{}}},"merges":[{}]}})",
      spec.unk_token.empty() ? "null" : Json(spec.unk_token).dump(), spec.fuse_unk, spec.byte_fallback,
      spec.ignore_merges, vocab, merges);
}

}  // namespace

Json byte_level_decoder() {
  Json out = Json::object();
  out.set("type", "ByteLevel").set("add_prefix_space", true).set("trim_offsets", true).set("use_regex", true);
  return out;
}

std::string tokenizer_json_text(const TokenizerSpec& spec, const TokenizerRules& rules) {
  return fmt::format(
      R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":{},"normalizer":{},"pre_tokenizer":{},)"
      R"("post_processor":{},"decoder":{},"model":{}}})"
      "\n",
      added_token_rows(spec).dump(), rules.normalizer.dump(), rules.pre_tokenizer.dump(),
      post_processor_of(spec).dump(), rules.decoder.dump(), model_text(spec));
}

}  // namespace r1
