// engine/model_bundle.h: everything in a model directory that using the model needs: weights, tokenizer, chat
// template, sampling defaults.
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

class GgufMetadata;

// An encoded prompt. `opening` is what it has written of the response's thought: its thought_opening
// (text/think.h), or kEmptyThought if [prompt] think = "off" closed the thought.
struct ChatPrompt {
  std::vector<int32_t> tokens;
  std::string opening;
  std::string text;  // the prompt before it was encoded
};

struct ModelBundle {
  // Loads a Hugging Face directory with tokenizer.json, or a GGUF file; matrices, memory and
  // `quantize` as in Model::load. Throws Error.
  static ModelBundle load(const std::filesystem::path& directory, DType matrices = DType::f32,
                          WeightUse use = WeightUse::training, Memory& memory = host_memory(),
                          std::string_view quantize = {});
  // New weights beside the tokenizer files of `tokenizer_directory`.
  static ModelBundle create(Model model, const std::filesystem::path& tokenizer_directory);

  Model model;
  Tokenizer tokenizer;
  ChatTemplates chat_template;  // empty() if there is none
  std::string bos, eos;         // their text, for the template
  SamplingParams sampling;      // generation_config.json's
  int64_t max_tokens = 0;       // its max_new_tokens; 0: it has none
  // Any of them ends an answer: the union of generation_config.json, config.json, tokenizer_config.json and
  // special_tokens_map.json, in this order.
  std::vector<int32_t> stop_tokens;
  // Settings of the directory that r1 does not apply: one line per setting, each with the file's name.
  std::vector<std::string> warnings;
  std::map<std::string, std::string>
      files;  // tokenizer and generation files as they are on disk, written back by save()

  // Renders a conversation by the chat template: tools, tool calls, content parts, kwargs and all. Without a
  // template, a single user message is the text as it is, and everything else throws Error.
  ChatPrompt chat(const ChatInput& input) const;
  // The chat template's text for a conversation. Throws Error if there is no template.
  std::string chat_text(const ChatInput& input) const;
  // One user's turn as a prompt: by the chat template if there is one, else the text as it is.
  ChatPrompt chat_prompt(std::string_view question) const;
  // A raw prompt, encoded with the tokenizer's post-processor.
  std::vector<int32_t> raw_prompt(std::string_view text) const;

  void save(const std::filesystem::path& directory) const;  // into an existing one; weights in f32
};

// The files beside the weights with which a model from a GGUF file is saved, by name.
std::map<std::string, std::string> gguf_model_files(const GgufMetadata& metadata,
                                                    const std::vector<int32_t>& stops);

}  // namespace r1
