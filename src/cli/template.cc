// cli/template.cc: `r1 template`: rows {"messages", "tools", "add_generation_prompt", "bos_token",
// "eos_token"} ->
// {"rendered"}; what a row leaves out, the model's directory says, else it is empty.
#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/output.h"
#include "text/chat_template.h"
#include "text/tokenizer_config.h"

namespace r1 {

int run_template(const TemplateOptions& options) {
  check_common(options.common);
  std::error_code none;
  TokenizerConfig config;
  if (std::filesystem::is_regular_file(options.model, none)) {
    config.chat_template = read_file(options.model);
    config.template_source = options.model;
  } else {
    const std::filesystem::path directory = resolve_model(options.model);
    config = load_tokenizer_config(directory);
    if (config.chat_template.empty()) throw Error(directory.string() + ": has no chat template");
  }
  const ChatTemplate chat(config.chat_template, config.template_source);
  return answer_rows(options.input, [&](const Json& row) {
    ChatInput input;
    input.messages = row.at("messages");
    if (const Json* tools = row.find("tools")) input.tools = *tools;
    input.add_generation_prompt = row.get_bool_or("add_generation_prompt", true);
    input.bos_token = row.get_string_or("bos_token", config.bos);
    input.eos_token = row.get_string_or("eos_token", config.eos);
    return Json::object().set("rendered", chat.render(input));
  });
}

}  // namespace r1
