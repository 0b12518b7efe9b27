// A conversation becomes a prompt by the model's chat templates, with tools and template variables. Without a
// template only plain text is accepted.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "engine/model_bundle.h"

namespace r1::chat_prompt_test {
namespace {

namespace fs = std::filesystem;

class ChatPrompts : public testing::Test {
 protected:
  ChatPrompts() {
    fs::create_directories(root / "additional_chat_templates");
    for (const char* file : {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"})
      fs::copy_file(fs::path(R1_SOURCE_DIR) / "models" / "r1-nano-base" / file, root / file);
  }
  ~ChatPrompts() override { fs::remove_all(root); }
  void write(const std::string& name, const std::string& text) const {
    write_file_atomically(root / name, text);
  }

  fs::path root = fs::temp_directory_path() / ("r1_chat_prompts_" + std::to_string(::getpid()));
  Json row = parse_json(
      R"({"messages": [{"role": "user", "content": "1+1?"}], "tools": [{"function": {"name": "add"}}],
      "chat_template_kwargs": {"style": "terse"}})",
      "row");
};

TEST_F(ChatPrompts, ToolsVariablesAndTokensReachTheTemplate) {
  write("tokenizer_config.json",
        R"({"eos_token": "<｜end▁of▁sentence｜>", "chat_template": "{{ messages[0].content }}"})");
  write(
      "additional_chat_templates/tool_use.jinja",
      "{{ bos_token }}{{ tools[0].function.name }} {{ style }} {{ messages[0].content }}<think>{{ '\\n' }}");
  const ModelBundle bundle = ModelBundle::load(root);
  const ChatPrompt prompt = bundle.chat(chat_input(row));
  // config.json names the begin-of-sentence token, which the tokenizer's files do not.
  EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜>add terse 1+1?<think>\n");
  EXPECT_EQ(prompt.opening, "<think>\n");
  EXPECT_EQ(prompt.tokens, bundle.tokenizer.encode(prompt.text, false));
  EXPECT_EQ(bundle.chat_prompt("1+1?").text, "1+1?");
}

TEST_F(ChatPrompts, ASavedModelKeepsItsTemplates) {
  write("tokenizer_config.json", R"({"chat_template": "D"})");
  write("additional_chat_templates/tool_use.jinja", "T");
  const fs::path copy = root / "copy";
  fs::create_directories(copy);
  ModelBundle::load(root).save(copy);
  const ModelBundle bundle = ModelBundle::load(copy);
  EXPECT_EQ(bundle.chat(chat_input(row)).text, "T");
  EXPECT_EQ(bundle.chat_prompt("x").text, "D");
}

TEST_F(ChatPrompts, WithoutATemplateOnlyOneUsersTextIsTaken) {
  const ModelBundle bundle = ModelBundle::load(root);
  EXPECT_EQ(bundle.chat_prompt("1+1?").tokens, bundle.raw_prompt("1+1?"));
  const char* refused[] = {
      R"({"messages": [{"role": "system", "content": "x"}]})",
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]})",
      R"({"messages": [{"role": "user", "content": "x"}], "tools": []})",
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})"};
  for (const char* text : refused) {
    try {
      bundle.chat(chat_input(parse_json(text, "row")));
      ADD_FAILURE() << "accepted " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("no chat template"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace r1::chat_prompt_test
