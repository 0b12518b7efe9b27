// engine/model_bundle.h: all that a model directory holds for using it: weights, tokenizer, chat template,
// sampling defaults.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"
#include "ops/sample/sample.h"
#include "text/chat_templates.h"
#include "text/tokenizer.h"

namespace r1 {

// A prompt, encoded. `opening` is its thought_opening (text/think.h): not empty if the prompt ends inside a
// thought.
struct ChatPrompt {
  std::vector<int32_t> tokens;
  std::string opening;
  std::string text;  // the prompt before it was encoded
};

struct ModelBundle {
  // A Hugging Face directory with tokenizer.json; matrices as Model::load holds them. Throws Error.
  static ModelBundle load(const std::filesystem::path& directory, DType matrices = DType::f32);
  // New weights beside the tokenizer files of `tokenizer_directory`.
  static ModelBundle create(Model model, const std::filesystem::path& tokenizer_directory);

  Model model;
  Tokenizer tokenizer;
  ChatTemplates chat_template;  // empty() where there is none
  std::string bos, eos;       // their text, for the template
  SamplingParams sampling;    // generation_config.json's
  int64_t max_tokens = 0;     // its max_new_tokens; 0: it does not say
  // Any of them ends an answer: what generation_config.json, config.json, tokenizer_config.json and
  // special_tokens_map.json say, together, in this order.
  std::vector<int32_t> stop_tokens;
  // What the directory asks for and r1 does not do: lines for a person, each with the file's name.
  std::vector<std::string> warnings;
  std::map<std::string, std::string>
      files;  // tokenizer and generation files as they are on disk, written back by save()

  // A conversation, by the chat template: tools, tool calls, content parts, kwargs and all. Without a
  // template one user's message is the text as it is, and everything else throws Error.
  ChatPrompt chat(const ChatInput& input) const;
  // What the chat template writes of a conversation. Throws Error where there is no template.
  std::string chat_text(const ChatInput& input) const;
  // One user's turn as a prompt: by the chat template where there is one, else the text as it is.
  ChatPrompt chat_prompt(std::string_view question) const;
  // A raw prompt, encoded as the tokenizer's post-processor says.
  std::vector<int32_t> raw_prompt(std::string_view text) const;

  void save(const std::filesystem::path& directory) const;  // into an existing one; weights in f32
};

}  // namespace r1
