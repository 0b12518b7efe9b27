#include "engine/model_bundle.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "engine/generation_config.h"
#include "engine/gguf_sampling.h"
#include "formats/gguf_file.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "model/gguf_config.h"
#include "text/gguf_tokenizer.h"
#include "text/gguf_tokenizer_files.h"
#include "text/think.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer_config.h"

namespace r1 {
namespace {

constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json",
                                           "special_tokens_map.json", "added_tokens.json",
                                           "generation_config.json"};

void add(std::vector<int32_t>& ids, int32_t id) {
  if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
}

std::vector<int32_t> stop_tokens_of(const GenerationConfig& generation, const ModelConfig& model,
                                    const TokenizerConfig& config, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = generation.eos_token_ids;
  for (const int32_t id : model.eos_token_ids) add(ids, id);
  for (const std::string& token : config.all_eos) {
    const auto id = tokenizer.id_of(token);
    if (id && *id < model.vocab_size) add(ids, *id);  // the model cannot produce a larger id
  }
  return ids;
}

// A fine-tuned model's tokenizer may have a few special tokens that the model lacks, often a padding token. A
// prompt with such a token is refused. Returns a line that says so, or nothing if there are no such tokens.
// Tokens that only tokenizer_config.json adds are not considered. Throws Error if the tokenizer belongs to
// another model.
std::vector<std::string> tokens_beyond(const Tokenizer& tokenizer, int64_t vocab_size,
                                       const std::filesystem::path& file) {
  const int64_t tokens = tokenizer.file_vocab_size();
  if (tokens <= vocab_size) return {};
  constexpr int64_t kMost = 256;
  bool special = tokens - vocab_size <= kMost;
  for (int64_t id = vocab_size; special && id < tokens; ++id)
    special = tokenizer.is_special(static_cast<int32_t>(id)) ||
              tokenizer.token_of(static_cast<int32_t>(id)).empty();
  if (!special) {
    throw Error(file.string() + ": has " + std::to_string(tokens) + " tokens, the model's vocab_size is " +
                std::to_string(vocab_size) + ": the tokenizer is of another model");
  }
  return {file.string() + ": its special tokens from " + std::to_string(vocab_size) + " to " +
          std::to_string(tokens - 1) + " are not the model's: a prompt that has one is refused"};
}

}  // namespace

std::map<std::string, std::string> gguf_model_files(const GgufMetadata& metadata,
                                                    const std::vector<int32_t>& stops) {
  std::map<std::string, std::string> files = gguf_tokenizer_files(metadata);
  files["generation_config.json"] = gguf_generation_config(metadata, stops).dump(2) + "\n";
  return files;
}

namespace {

ModelBundle of_gguf(Model model, const GgufMetadata& metadata, WeightUse use) {
  Tokenizer tokenizer = read_gguf_tokenizer(metadata);
  std::vector<std::string> warnings = model.warnings();
  warnings.insert(warnings.end(), tokenizer.warnings().begin(), tokenizer.warnings().end());
  const std::vector<std::string> beyond =
      tokens_beyond(tokenizer, model.config().vocab_size, metadata.source());
  warnings.insert(warnings.end(), beyond.begin(), beyond.end());
  const SamplingParams sampling = read_gguf_sampling(metadata, warnings);
  const GgufSpecialTokens special = read_gguf_special_tokens(metadata);
  const auto text_of = [&](int32_t id) { return id < 0 ? std::string() : tokenizer.token_of(id); };
  std::vector<int32_t> stops;
  for (const int32_t id : special.stops) {
    if (id < model.config().vocab_size) add(stops, id);
  }
  const std::string bos = text_of(special.bos), eos = text_of(special.eos);
  std::map<std::string, std::string> files;
  if (use == WeightUse::training) files = gguf_model_files(metadata, stops);
  return {.model = std::move(model),
          .tokenizer = std::move(tokenizer),
          .chat_template = read_gguf_chat_templates(metadata),
          .bos = bos,
          .eos = eos,
          .sampling = sampling,
          .max_tokens = 0,
          .stop_tokens = std::move(stops),
          .warnings = std::move(warnings),
          .files = std::move(files)};
}

}  // namespace

ModelBundle ModelBundle::load(const std::filesystem::path& directory, DType matrices, WeightUse use,
                              Memory& memory, std::string_view quantize) {
  Model model = Model::load(directory, matrices, use, memory, quantize);
  if (is_gguf(directory)) return of_gguf(std::move(model), GgufFile(directory).metadata(), use);
  return create(std::move(model), directory);
}

ModelBundle ModelBundle::create(Model model, const std::filesystem::path& directory) {
  const ModelConfig& shape = model.config();
  Tokenizer tokenizer = Tokenizer::load(directory);
  const std::vector<std::string> beyond =
      tokens_beyond(tokenizer, shape.vocab_size, directory / "tokenizer.json");
  const TokenizerConfig config = load_tokenizer_config(directory);
  const GenerationConfig generation = load_generation_config(directory, shape.vocab_size);
  std::vector<int32_t> stops = stop_tokens_of(generation, shape, config, tokenizer);
  std::vector<std::string> warnings = model.warnings();
  warnings.insert(warnings.end(), generation.warnings.begin(), generation.warnings.end());
  warnings.insert(warnings.end(), tokenizer.warnings().begin(), tokenizer.warnings().end());
  warnings.insert(warnings.end(), beyond.begin(), beyond.end());
  // The ids of the model's config are used if the tokenizer's files name none.
  const std::string bos = config.says_bos || shape.bos_token_id < 0
                              ? config.bos
                              : tokenizer.token_of(static_cast<int32_t>(shape.bos_token_id));
  const std::string eos = config.says_eos || stops.empty() ? config.eos : tokenizer.token_of(stops.front());
  ModelBundle bundle{.model = std::move(model),
                     .tokenizer = std::move(tokenizer),
                     .chat_template = ChatTemplates::load(directory),
                     .bos = bos,
                     .eos = eos,
                     .sampling = generation.sampling,
                     .max_tokens = generation.max_new_tokens,
                     .stop_tokens = std::move(stops),
                     .warnings = std::move(warnings),
                     .files = {}};
  for (const char* name : kTokenizerFiles) {
    if (std::filesystem::exists(directory / name)) bundle.files[name] = read_file(directory / name);
  }
  if (has_tiktoken_file(directory)) {
    for (auto& [name, text] : tiktoken_as_tokenizer_files(directory)) bundle.files[name] = std::move(text);
  }
  for (const std::string& name : ChatTemplates::files(directory))
    if (!bundle.files.contains(name)) bundle.files[name] = read_file(directory / name);
  return bundle;
}

std::string ModelBundle::chat_text(const ChatInput& input) const {
  ChatInput known = input;
  if (!known.bos_token && !bos.empty()) known.bos_token = bos;
  if (!known.eos_token && !eos.empty()) known.eos_token = eos;
  return chat_template.render_adapted(known);
}

ChatPrompt ModelBundle::chat(const ChatInput& input) const {
  ChatPrompt prompt;
  if (!chat_template.empty()) {
    prompt.text = chat_text(input);
    prompt.tokens = tokenizer.encode(prompt.text, false);  // the template has written the special tokens
  } else {
    const Json* content = nullptr;
    if (input.messages.size() == 1 && input.tools.is_null()) content = input.messages.at(0).find("content");
    if (content == nullptr || !content->is_string() ||
        input.messages.at(0).get_string_or("role", "user") != "user")
      throw Error("the model has no chat template: it takes one user's message, and no tools");
    prompt.text = content->string();
    prompt.tokens = raw_prompt(prompt.text);
  }
  prompt.opening = thought_opening(prompt.text);
  return prompt;
}

ChatPrompt ModelBundle::chat_prompt(std::string_view question) const {
  Json message = Json::object();
  message.set("role", "user").set("content", question);
  return chat({.messages = Json::array().push_back(std::move(message))});
}

std::vector<int32_t> ModelBundle::raw_prompt(std::string_view text) const {
  return tokenizer.encode(text, true);
}

void ModelBundle::save(const std::filesystem::path& directory) const {
  model.save(directory, DType::f32);
  for (const auto& [name, text] : files) {
    std::filesystem::create_directories((directory / name).parent_path());
    write_file_atomically(directory / name, text);
  }
}

}  // namespace r1
