// Reads tokenizer.json, as the tokenizers library writes it, into a TokenizerSpec.
#include <fmt/format.h>

#include "base/error.h"
#include "formats/shown.h"
#include "text/configured_tokens.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer.h"
#include "text/tokenizer_spec.h"

namespace r1 {
namespace {

constexpr int kMaxNesting = 8;

void require_absent(const Json& model, std::string_view field) {
  const Json* value = model.find(field);
  if (value == nullptr || value->is_null() || (value->is_string() && value->string().empty())) return;
  if (value->is_bool() && !value->boolean()) return;
  if (value->is_number() && value->number() == 0) return;
  value->fail("is not supported: only plain byte-level BPE and SentencePiece BPE are");
}

int32_t token_id(const Json& value) {
  const int64_t id = value.integer();
  if (id < 0 || id > kMaxTokenId) value.fail(fmt::format("is {}, 0 to {} are accepted", id, kMaxTokenId));
  return static_cast<int32_t>(id);
}

std::pair<std::string, std::string> parse_merge(const Json& merge) {
  if (merge.is_array()) {
    if (merge.size() != 2) merge.fail(fmt::format("has {} parts, a merge has two", merge.size()));
    return {merge.at(0).string(), merge.at(1).string()};
  }
  const std::string& text = merge.string();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    merge.fail("is not two tokens with one space between");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

void parse_model(const Json& model, TokenizerSpec& spec) {
  // Files older than the field "type" do not have it.
  // Files of Unigram models that old have a list of pieces and scores.
  const std::string type = model.get_string_or("type", model.at("vocab").is_array() ? "Unigram" : "BPE");
  if (type != "BPE") {
    (model.contains("type") ? model.at("type") : model.at("vocab"))
        .fail(fmt::format("is {}, only BPE is supported: byte-level, or SentencePiece's as Llama 2 has it",
                          shown(type)));
  }
  for (const std::string_view field : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    require_absent(model, field);
  }
  spec.unk_token = model.get_string_or("unk_token", "");
  spec.fuse_unk = model.get_bool_or("fuse_unk", false);
  spec.byte_fallback = model.get_bool_or("byte_fallback", false);
  spec.ignore_merges = model.get_bool_or("ignore_merges", false);
  const auto& vocab = model.at("vocab").members();
  spec.vocab.reserve(vocab.size());
  for (const auto& [token, id] : vocab) spec.vocab.emplace_back(token, token_id(id));
  const auto& merges = model.at("merges").items();
  spec.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string() && merge.string().starts_with("#version"))
      continue;  // the first line of a merges.txt
    spec.merges.push_back(parse_merge(merge));
  }
}

AddedToken parse_added(const Json& value) {
  AddedToken token;
  token.content = value.get_string("content");
  token.id = token_id(value.at("id"));
  token.special = value.get_bool_or("special", false);
  token.normalized = value.get_bool_or("normalized", !token.special);
  token.lstrip = value.get_bool_or("lstrip", false);
  token.rstrip = value.get_bool_or("rstrip", false);
  token.single_word = value.get_bool_or("single_word", false);
  return token;
}

// Reads a template for one text: special tokens, the text once ("A"), special tokens.
void parse_template(const Json& processor, TokenizerSpec& spec) {
  const Json* known = processor.find("special_tokens");
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  bool seen = false;
  for (const Json& part : processor.at("single").items()) {
    if (const Json* sequence = part.find("Sequence")) {
      if (sequence->get_string("id") != "A")
        sequence->at("id").fail("is not A: a template for one text has one text");
      if (seen) sequence->fail("is the second one: a template has its text once");
      seen = true;
      continue;
    }
    const Json& name = part.at("SpecialToken").at("id");
    if (known == nullptr) processor.fail("has no special_tokens");
    for (const Json& id : known->at(name.string()).at("ids").items()) {
      (seen ? after : before).push_back(token_id(id));
    }
  }
  if (!seen) processor.at("single").fail("does not contain the text (a Sequence with id A)");
  spec.prefix = std::move(before);
  spec.suffix = std::move(after);
  if (spec.prefix.size() + spec.suffix.size() > 1024)
    processor.at("single").fail("has more than 1024 special tokens");
}

// A second template is refused, because tokenizers would apply it to the tokens of the first as further
// texts.
void parse_post_processor(const Json& processor, TokenizerSpec& spec, bool& has_template, int depth) {
  if (processor.is_null()) return;
  const std::string& type = processor.get_string("type");
  if (type == "TemplateProcessing") {
    if (has_template) processor.fail("is the second TemplateProcessing, one is supported");
    has_template = true;
    parse_template(processor, spec);
  } else if (type == "Sequence") {
    if (depth > kMaxNesting) processor.fail("is nested too deeply");
    for (const Json& part : processor.at("processors").items())
      parse_post_processor(part, spec, has_template, depth + 1);
  } else if (type != "ByteLevel") {  // ByteLevel changes offsets only
    processor.at("type").fail(
        fmt::format("is {}, only ByteLevel, TemplateProcessing and Sequence are supported", shown(type)));
  }
}

// Counts the ByteLevel decoders and refuses all others. The caller requires exactly one: a second would
// decode the output of the first.
int count_byte_level(const Json& decoder, int depth) {
  const std::string& type = decoder.get_string("type");
  if (type == "ByteLevel") return 1;
  if (type != "Sequence" || depth > kMaxNesting) {
    decoder.at("type").fail(fmt::format(
        "is {}, only ByteLevel is supported where the pre-tokenizer has a ByteLevel", shown(type)));
  }
  int count = 0;
  for (const Json& part : decoder.at("decoders").items()) count += count_byte_level(part, depth + 1);
  return count;
}

// Without a decoder, the tokens of a byte-level vocabulary are decoded as ByteLevel does. The tokenizers
// library would join them with spaces, which is never the intended text.
void read_byte_level_decoder(const Json& decoder) {
  if (decoder.is_null()) return;
  const int count = count_byte_level(decoder, 0);
  if (count != 1) decoder.fail(fmt::format("has {} ByteLevel decoders; it must have one", count));
}

// The pre-tokenizer tells the kind of the vocabulary.
void read_symbols(const Json& pre_tokenizer, const Json& decoder, TokenizerSpec& spec) {
  if (spec.pre_tokenizer.is_byte_level()) return read_byte_level_decoder(decoder);
  if (decoder.is_null()) {
    pre_tokenizer.fail(
        "has no ByteLevel, and the file has no decoder: byte-level BPE has the one, SentencePiece BPE the "
        "other");
  }
  spec.symbols = TokenizerSpec::Symbols::characters;
  spec.decoder = DecoderRules::parse(decoder);
}

}  // namespace

Tokenizer Tokenizer::from_json(const Json& json, std::vector<AddedToken> configured) {
  static const Json kNull;
  const auto field = [&](std::string_view name) -> const Json& {
    const Json* value = json.find(name);
    return value == nullptr ? kNull : *value;
  };
  TokenizerSpec spec;
  parse_model(json.at("model"), spec);
  spec.normalizer = Normalizer(field("normalizer"));
  spec.pre_tokenizer = PreTokenizer(json.at("pre_tokenizer"));
  read_symbols(json.at("pre_tokenizer"), field("decoder"), spec);
  if (!field("added_tokens").is_null()) {
    for (const Json& token : json.at("added_tokens").items()) spec.added.push_back(parse_added(token));
  }
  bool has_template = false;
  parse_post_processor(field("post_processor"), spec, has_template, 0);
  spec.configured = std::move(configured);
  return from_spec(std::move(spec), json.source());
}

Tokenizer Tokenizer::from_json(const Json& json) {
  return from_json(json, {});
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return from_json(read_json(path));
  if (has_tiktoken_file(path)) return read_tiktoken(path);
  return from_json(read_json(path / "tokenizer.json"), configured_tokens(path));
}

}  // namespace r1
