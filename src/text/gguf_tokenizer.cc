#include "text/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/gguf_file.h"
#include "formats/shown.h"
#include "text/gguf_sentencepiece.h"
#include "text/gguf_tokenizer_parts.h"
#include "text/tokenizer_writer.h"
#include "text/utf8.h"

namespace r1 {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model", kPre = "tokenizer.ggml.pre",
                           kTokens = "tokenizer.ggml.tokens", kTypes = "tokenizer.ggml.token_type",
                           kMerges = "tokenizer.ggml.merges", kTemplate = "tokenizer.chat_template",
                           kTemplates = "tokenizer.chat_templates", kSentencePiece = "llama";

using Vocabulary = GgufVocabulary;

Vocabulary read_vocabulary(const GgufMetadata& metadata) {
  Vocabulary out;
  out.tokens = metadata.strings(kTokens);
  if (out.tokens.empty()) metadata.fail(kTokens, "is empty");
  if (out.tokens.size() > static_cast<size_t>(kMaxTokenId))
    metadata.fail(kTokens,
                  fmt::format("has {} tokens; at most {} are accepted", out.tokens.size(), kMaxTokenId));
  for (size_t id = 0; id < out.tokens.size(); ++id) {
    if (!is_valid_utf8(out.tokens[id]))
      metadata.fail(kTokens, fmt::format("has token {}, which is not UTF-8", id));
  }
  out.kinds.assign(out.tokens.size(), Vocabulary::kNormal);
  if (!metadata.contains(kTypes)) return out;
  out.kinds = metadata.integers(kTypes);
  if (out.kinds.size() != out.tokens.size()) {
    metadata.fail(
        kTypes, fmt::format("has {} elements, and there are {} tokens", out.kinds.size(), out.tokens.size()));
  }
  for (size_t id = 0; id < out.kinds.size(); ++id) {
    if (out.kinds[id] < Vocabulary::kUndefined || out.kinds[id] > Vocabulary::kByte)
      metadata.fail(kTypes,
                    fmt::format("has {} for token {}; it must be between 0 and 6", out.kinds[id], id));
  }
  return out;
}

// The id of `key`, -1 if it is absent.
int32_t id_at(const GgufMetadata& metadata, std::string_view key, size_t vocabulary) {
  const int64_t id = metadata.get_int_or(key, -1);
  // Some files have 2^32 - 1 for none.
  constexpr int64_t kNone = 0xFFFFFFFF;
  if (id == -1 || id == kNone) return -1;
  if (id < 0 || id >= static_cast<int64_t>(vocabulary))
    metadata.fail(key, fmt::format("is {}, and there are {} tokens", id, vocabulary));
  return static_cast<int32_t>(id);
}

// tokenizer.json numbers added tokens itself: those that are not in the vocabulary follow it. Tokens from
// this id on are left out of the vocabulary if that gives them their own ids; otherwise every token is in it,
// which always does. SentencePiece's vocabularies have every token.
size_t first_outside(const Vocabulary& vocabulary, TokenizerSpec::Symbols symbols) {
  if (symbols == TokenizerSpec::Symbols::characters) return vocabulary.tokens.size();
  size_t end = vocabulary.tokens.size();
  while (end > 0 && (vocabulary.is_added(end - 1) || !vocabulary.is_token(end - 1))) --end;
  size_t next = 0;
  for (size_t id = 0; id < end; ++id) next += vocabulary.is_token(id) ? 1 : 0;
  for (size_t id = end; id < vocabulary.tokens.size(); ++id) {
    if (!vocabulary.is_token(id)) continue;
    if (id != next) return vocabulary.tokens.size();
    ++next;
  }
  return end;
}

void add_tokens(const Vocabulary& vocabulary, TokenizerSpec& spec) {
  const size_t outside = first_outside(vocabulary, spec.symbols);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!vocabulary.is_token(id)) continue;
    const std::string text(vocabulary.tokens[id]);
    if (id < outside) spec.vocab.emplace_back(text, static_cast<int32_t>(id));
    if (vocabulary.is_added(id)) {
      spec.added.push_back({.content = text,
                            .id = static_cast<int32_t>(id),
                            .special = vocabulary.kinds[id] != Vocabulary::kUserDefined,
                            .normalized = false});
    }
  }
}

void add_merges(const GgufMetadata& metadata, TokenizerSpec& spec) {
  const std::vector<std::string_view> merges = metadata.strings(kMerges);
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merges[i].size()) {
      metadata.fail(kMerges, fmt::format("has {} as merge {}: it is not two tokens with a space between",
                                         shown(merges[i]), i));
    }
    spec.merges.emplace_back(merges[i].substr(0, space), merges[i].substr(space + 1));
  }
}

void add_prefix_and_suffix(const GgufMetadata& metadata, bool bos_by_default, TokenizerSpec& spec) {
  constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token",
                             kAddEos = "tokenizer.ggml.add_eos_token";
  const GgufSpecialTokens special = read_gguf_special_tokens(metadata);
  const auto add = [&](std::string_view key, bool wanted, int32_t id, std::vector<int32_t>& out) {
    if (!metadata.get_bool_or(key, wanted)) return;
    if (id >= 0) {
      out.push_back(id);
    } else if (metadata.contains(key)) {
      metadata.fail(key, "is true, and the file names no such token");
    }
  };
  add(kAddBos, bos_by_default, special.bos, spec.prefix);
  add(kAddEos, false, special.eos, spec.suffix);
}

}  // namespace

bool GgufVocabulary::is_token(size_t id) const {
  if (tokens[id].empty()) return false;
  const bool filler = kinds[id] == kUnused || kinds[id] == kUserDefined;
  return !filler || tokens[id] != fmt::format("[PAD{}]", id);
}

bool GgufVocabulary::is_added(size_t id) const {
  return kinds[id] == kControl || kinds[id] == kUserDefined || kinds[id] == kUnknown;
}

GgufTokenizerParts read_gguf_tokenizer_parts(const GgufMetadata& metadata) {
  const std::string_view model = metadata.get_string(kModel);
  if (model != "gpt2" && model != kSentencePiece) {
    metadata.fail(kModel, fmt::format("is {}: only gpt2, which is byte-level BPE, and llama, which is "
                                      "SentencePiece BPE, are supported",
                                      shown(model)));
  }
  GgufTokenizerParts out;
  if (model == kSentencePiece) {
    const Vocabulary vocabulary = read_vocabulary(metadata);
    read_gguf_sentencepiece(metadata, vocabulary, out);
    add_tokens(vocabulary, out.spec);
  } else {
    try {
      out.rules = gguf_pre_tokenizer(metadata.get_string_or(kPre, "default"));
    } catch (const Error& error) {
      metadata.fail(kPre, error.what());
    }
    out.decoder = byte_level_decoder();
    out.spec.ignore_merges = out.rules.ignore_merges;
    add_tokens(read_vocabulary(metadata), out.spec);
    add_merges(metadata, out.spec);
  }
  add_prefix_and_suffix(metadata, out.rules.add_bos, out.spec);
  return out;
}

Tokenizer read_gguf_tokenizer(const GgufMetadata& metadata) {
  GgufTokenizerParts parts = read_gguf_tokenizer_parts(metadata);
  parts.spec.normalizer = Normalizer(parts.rules.normalizer);
  parts.spec.pre_tokenizer = PreTokenizer(parts.rules.pre_tokenizer);
  return Tokenizer::from_spec(std::move(parts.spec), metadata.source());
}

Tokenizer load_tokenizer(const std::filesystem::path& model) {
  if (model.extension() != ".gguf" || std::filesystem::is_directory(model)) return Tokenizer::load(model);
  return read_gguf_tokenizer(GgufFile(model).metadata());
}

GgufSpecialTokens read_gguf_special_tokens(const GgufMetadata& metadata) {
  constexpr std::string_view kEnds[] = {"<|eot_id|>", "<|eom_id|>",    "<|im_end|>",
                                        "<|end|>",    "<end_of_turn>", "<|endoftext|>"};
  const std::vector<std::string_view> tokens = metadata.strings(kTokens);
  const bool is_llama = metadata.get_string_or(kModel, "") == kSentencePiece;
  // If the file of a SentencePiece vocabulary names no id, Llama 2's id is used.
  const auto id = [&](std::string_view name, int32_t usual = -1) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    const bool is_usual = is_llama && usual >= 0 && !metadata.contains(key);
    if (is_usual) return static_cast<size_t>(usual) < tokens.size() ? usual : -1;
    return id_at(metadata, key, tokens.size());
  };
  GgufSpecialTokens out{
      .bos = id("bos", 1), .eos = id("eos", 2), .pad = id("padding"), .unk = id("unknown", 0), .stops = {}};
  const auto stop = [&](int32_t token) {
    if (token >= 0 && std::ranges::find(out.stops, token) == out.stops.end()) out.stops.push_back(token);
  };
  stop(out.eos);
  stop(id("eot"));
  stop(id("eom"));
  if (!metadata.contains(kTypes)) return out;
  const std::vector<int64_t> kinds = metadata.integers(kTypes);
  for (size_t i = 0; i < std::min(kinds.size(), tokens.size()); ++i) {
    if (kinds[i] == Vocabulary::kControl && std::ranges::find(kEnds, tokens[i]) != std::end(kEnds))
      stop(static_cast<int32_t>(i));
  }
  return out;
}

std::vector<ChatTemplates::Named> read_gguf_named_templates(const GgufMetadata& metadata) {
  std::vector<ChatTemplates::Named> named;
  const auto add = [&](std::string_view name, std::string_view key) {
    const std::string_view text = metadata.get_string(key);
    if (!is_valid_utf8(text)) metadata.fail(key, "is not UTF-8");
    named.push_back({std::string(name), std::string(text), fmt::format("{}: {}", metadata.source(), key)});
  };
  if (metadata.contains(kTemplate)) add("default", kTemplate);
  if (metadata.contains(kTemplates)) {
    for (const std::string_view name : metadata.strings(kTemplates)) {
      if (!is_valid_utf8(name)) metadata.fail(kTemplates, "has a name that is not UTF-8");
      if (name != "default") add(name, fmt::format("{}.{}", kTemplate, name));
    }
  }
  return named;
}

Json read_gguf_special_texts(const GgufMetadata& metadata) {
  const std::vector<std::string_view> tokens = metadata.strings(kTokens);
  const GgufSpecialTokens ids = read_gguf_special_tokens(metadata);
  Json out = Json::object();
  const auto set = [&](const char* name, int32_t id) {
    if (id >= 0) out.set(name, std::string(tokens[static_cast<size_t>(id)]));
  };
  set("bos_token", ids.bos);
  set("eos_token", ids.eos);
  set("pad_token", ids.pad);
  set("unk_token", ids.unk);
  return out;
}

ChatTemplates read_gguf_chat_templates(const GgufMetadata& metadata) {
  const std::vector<ChatTemplates::Named> named = read_gguf_named_templates(metadata);
  return ChatTemplates::of(named, named.empty() ? Json::object() : read_gguf_special_texts(metadata));
}

}  // namespace r1
