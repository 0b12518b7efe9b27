#include "text/bpe_trainer.h"

#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "text/added_tokens.h"
#include "text/byte_alphabet.h"
#include "text/merge_learner.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_spec.h"
#include "text/utf8.h"

namespace r1 {
namespace {

constexpr int32_t kBytes = 256;

Json pre_tokenizer_json(const std::string& pattern) {
  Json split = Json::object();
  split.set("type", "Split");
  split.set("pattern", Json::object().set("Regex", pattern));
  split.set("behavior", "Isolated");
  split.set("invert", false);
  Json bytes = Json::object();
  bytes.set("type", "ByteLevel")
      .set("add_prefix_space", false)
      .set("trim_offsets", true)
      .set("use_regex", false);
  Json sequence = Json::object();
  sequence.set("type", "Sequence");
  sequence.set("pretokenizers", Json::array().push_back(std::move(split)).push_back(std::move(bytes)));
  return sequence;
}

}  // namespace

struct BpeTrainer::Impl {
  BpeTrainerOptions options;
  PreTokenizer pre_tokenizer;
  AddedTokens added;
  std::unordered_map<std::string, int64_t> words;

  std::string write(const std::vector<std::string>& symbols,
                    const std::vector<std::pair<int32_t, int32_t>>& merges) const;
  Json added_json(int32_t first_id) const;
  Json post_processor_json(int32_t first_id) const;
};

BpeTrainer::BpeTrainer(BpeTrainerOptions options) : impl_(std::make_unique<Impl>()) {
  const auto least = static_cast<int64_t>(kBytes + options.added.size());
  if (options.vocab_size < least || options.vocab_size > kMaxTokenId) {
    throw Error(fmt::format("tokenizer: vocab_size is {}, {} (bytes and added tokens) to {} are accepted",
                            options.vocab_size, least, kMaxTokenId));
  }
  std::vector<AddedToken> added;
  std::unordered_set<std::string> contents;
  for (const AddedTokenSpec& spec : options.added) {
    const auto bytes = letters_to_bytes(spec.content);
    if (spec.content.size() < 2 || spec.content.size() > kMaxAddedToken || !is_valid_utf8(spec.content) ||
        (bytes && bytes->size() == 1)) {
      throw Error(fmt::format(
          "tokenizer: added token \"{}\" is not UTF-8 of 2 to {} bytes, or is one of the byte letters",
          shown(spec.content), kMaxAddedToken));
    }
    if (!contents.insert(spec.content).second) {
      throw Error(fmt::format("tokenizer: added token {} is given twice", shown(spec.content)));
    }
    added.push_back({.content = spec.content, .special = spec.special});
  }
  if (!options.bos.empty() && !contents.contains(options.bos)) {
    throw Error(fmt::format("tokenizer: the begin-of-text token {} is not among the added tokens",
                            shown(options.bos)));
  }
  try {
    impl_->pre_tokenizer = PreTokenizer(pre_tokenizer_json(options.pattern));
  } catch (const Error& error) {
    throw Error(fmt::format("tokenizer: pattern: {}", error.what()));
  }
  impl_->added.add(added, {}, Normalizer());
  impl_->options = std::move(options);
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::feed(std::string_view text) {
  const std::string valid = replace_invalid_utf8(text);
  std::vector<TextRange> ranges;
  for (const AddedTokens::Span& span : impl_->added.cut_raw(valid, false)) {
    if (span.id >= 0) continue;
    std::string part = valid.substr(span.range.begin, span.range.end - span.range.begin);
    impl_->pre_tokenizer.split(part, ranges);
    for (const TextRange& range : ranges) ++impl_->words[part.substr(range.begin, range.end - range.begin)];
  }
}

Json BpeTrainer::Impl::added_json(int32_t first_id) const {
  Json list = Json::array();
  for (const AddedTokenSpec& spec : options.added) {
    Json token = Json::object();
    token.set("id", first_id + static_cast<int32_t>(list.size()));
    token.set("content", spec.content);
    for (const std::string_view flag : {"single_word", "lstrip", "rstrip", "normalized"})
      token.set(flag, false);
    token.set("special", spec.special);
    list.push_back(std::move(token));
  }
  return list;
}

Json BpeTrainer::Impl::post_processor_json(int32_t first_id) const {
  if (options.bos.empty()) return Json();
  int32_t id = first_id;
  while (options.added[id - first_id].content != options.bos) ++id;
  const auto bos = [&](int type) {
    return Json::object().set("SpecialToken", Json::object().set("id", options.bos).set("type_id", type));
  };
  const auto text = [](std::string_view name, int type) {
    return Json::object().set("Sequence", Json::object().set("id", name).set("type_id", type));
  };
  Json known = Json::object();
  known.set("id", options.bos);
  known.set("ids", Json::array().push_back(id));
  known.set("tokens", Json::array().push_back(options.bos));
  Json out = Json::object();
  out.set("type", "TemplateProcessing");
  out.set("single", Json::array().push_back(bos(0)).push_back(text("A", 0)));
  out.set("pair",
          Json::array().push_back(bos(0)).push_back(text("A", 0)).push_back(bos(1)).push_back(text("B", 1)));
  out.set("special_tokens", Json::object().set(options.bos, std::move(known)));
  return out;
}

std::string BpeTrainer::train() const {
  const BpeTrainerOptions& options = impl_->options;
  const size_t most = static_cast<size_t>(options.vocab_size) - options.added.size();
  MergeLearner learner(impl_->words, options.max_token_bytes);
  std::vector<std::string> symbols;
  std::unordered_map<std::string, int32_t>
      numbers;  // by symbol; -1 for an added token's content, which is not a symbol
  for (const AddedTokenSpec& spec : options.added) numbers.emplace(spec.content, -1);
  for (int byte = 0; byte < kBytes; ++byte) {
    const char text[] = {static_cast<char>(byte)};
    symbols.push_back(bytes_to_letters(std::string_view(text, 1)));
    numbers.emplace(symbols.back(), byte);
  }
  std::vector<std::pair<int32_t, int32_t>> merges;
  while (symbols.size() < most) {
    const auto pair = learner.next(options.min_count);
    if (pair.first < 0) break;
    std::string made = symbols[pair.first] + symbols[pair.second];
    const auto [number, is_new] = numbers.try_emplace(made, static_cast<int32_t>(symbols.size()));
    if (number->second < 0) {
      learner.drop(pair);
      continue;
    }
    if (is_new) symbols.push_back(std::move(made));  // otherwise the token already exists
    learner.merge(pair, number->second);
    merges.push_back(pair);
  }
  return impl_->write(symbols, merges);
}

// One entry per line, vocabulary by id, in the layout of the tokenizers library.
std::string BpeTrainer::Impl::write(const std::vector<std::string>& symbols,
                                    const std::vector<std::pair<int32_t, int32_t>>& merges) const {
  const auto quoted = [](const std::string& text) { return Json(text).dump(); };
  const int32_t first_added = options.added_first ? 0 : static_cast<int32_t>(symbols.size());
  std::string vocab;
  int32_t id = 0;
  const auto put = [&](const std::string& token) {
    vocab += fmt::format("{}\n      {}: {}", id == 0 ? "" : ",", quoted(token), id);
    ++id;
  };
  if (options.added_first) {
    for (const AddedTokenSpec& spec : options.added) put(spec.content);
  }
  for (const std::string& symbol : symbols) put(symbol);
  std::string rules;
  for (const auto& [left, right] : merges) {
    rules += fmt::format("{}\n      [{}, {}]", rules.empty() ? "" : ",", quoted(symbols[left]),
                         quoted(symbols[right]));
  }
  Json decoder = Json::object();
  decoder.set("type", "ByteLevel")
      .set("add_prefix_space", true)
      .set("trim_offsets", true)
      .set("use_regex", true);
  return fmt::format(
      "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": {},\n"
      "  \"normalizer\": null,\n  \"pre_tokenizer\": {},\n  \"post_processor\": {},\n  \"decoder\": {},\n"
      "  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": "
      "false,\n"
      "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n    \"vocab\": {{{}\n    }},\n"
      "    \"merges\": [{}\n    ]\n  }}\n}}\n",
      added_json(first_added).dump(), pre_tokenizer_json(options.pattern).dump(),
      post_processor_json(first_added).dump(), decoder.dump(), vocab, rules);
}

void write_tokenizer(const std::filesystem::path& directory, const TokenizerFiles& files) {
  Json config = Json::object();
  // transformers' generic class leaves tokenizer.json unchanged; model-specific classes may change it.
  config.set("tokenizer_class", "PreTrainedTokenizerFast");
  config.set("clean_up_tokenization_spaces", false);
  if (!files.bos.empty()) config.set("bos_token", files.bos);
  if (!files.eos.empty()) config.set("eos_token", files.eos);
  const std::string& pad = files.pad.empty() ? files.eos : files.pad;
  if (!pad.empty()) config.set("pad_token", pad);
  if (files.model_max_length > 0) config.set("model_max_length", files.model_max_length);
  if (!files.chat_template.empty()) config.set("chat_template", files.chat_template);
  write_file_atomically(directory / "tokenizer.json", files.tokenizer);
  write_file_atomically(directory / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace r1
