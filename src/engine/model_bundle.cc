#include "engine/model_bundle.h"

#include <utility>

#include "base/file.h"
#include "formats/json.h"
#include "text/think.h"
#include "text/tokenizer_config.h"

namespace r1 {
namespace {

constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json",
                                           "special_tokens_map.json", "generation_config.json"};

SamplingParams sampling_of(const GenerationConfig& config) {
  SamplingParams params;  // a file that says nothing: temperature 1, no filters
  if (config.do_sample && !*config.do_sample) params.temperature = 0.0f;
  if (config.temperature) params.temperature = static_cast<float>(*config.temperature);
  if (config.top_p) params.top_p = static_cast<float>(*config.top_p);
  if (config.top_k) params.top_k = *config.top_k;
  return params;
}

}  // namespace

ModelBundle ModelBundle::load(const std::filesystem::path& directory, DType matrices) {
  return create(Model::load(directory, matrices), directory);
}

ModelBundle ModelBundle::create(Model model, const std::filesystem::path& directory) {
  const TokenizerConfig config = load_tokenizer_config(directory);
  const GenerationConfig generation = load_generation_config(directory);
  ModelBundle bundle{.model = std::move(model),
                     .tokenizer = Tokenizer::load(directory),
                     .chat_template = ChatTemplates::load(directory),
                     .bos = config.bos,
                     .eos = config.eos,
                     .sampling = sampling_of(generation),
                     .max_tokens = generation.max_new_tokens.value_or(0),
                     .stop_tokens = generation.eos_token_ids,
                     .files = {}};
  if (bundle.tokenizer.vocab_size() > bundle.model.config().vocab_size) {
    throw Error((directory / "tokenizer.json").string() + ": has " +
                std::to_string(bundle.tokenizer.vocab_size()) + " tokens, the model's vocab_size is " +
                std::to_string(bundle.model.config().vocab_size) + ": the tokenizer is of another model");
  }
  if (bundle.stop_tokens.empty()) bundle.stop_tokens = bundle.model.config().eos_token_ids;
  if (const auto eos = bundle.tokenizer.id_of(bundle.eos); bundle.stop_tokens.empty() && eos)
    bundle.stop_tokens = {*eos};
  for (const char* name : kTokenizerFiles) {
    if (std::filesystem::exists(directory / name)) bundle.files[name] = read_file(directory / name);
  }
  for (const std::string& name : ChatTemplates::files(directory))
    bundle.files[name] = read_file(directory / name);
  return bundle;
}

ChatPrompt ModelBundle::chat(const ChatInput& input) const {
  ChatPrompt prompt;
  if (!chat_template.empty()) {
    prompt.text = chat_template.render_adapted(input);
    prompt.tokens = tokenizer.encode(prompt.text, false);  // the template wrote the special tokens itself
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
