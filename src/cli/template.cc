// cli/template.cc: `r1 template`: renders rows {"messages", "tools", "documents", "add_generation_prompt",
// "bos_token", "eos_token"} to {"rendered"}. chat_template_kwargs and all other fields of a row are variables
// of the template.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/output.h"
#include "formats/gguf_file.h"
#include "text/chat_templates.h"
#include "text/gguf_tokenizer.h"

namespace r1 {
namespace {

// Returns the seconds from 1970-01-01 to the midnight of YYYY-MM-DD.
int64_t seconds_of_date(const std::string& date) {
  std::tm parts{};
  const char* end = strptime(date.c_str(), "%Y-%m-%d", &parts);
  const int day = parts.tm_mday;
  const int month = parts.tm_mon;
  const std::time_t seconds = end != nullptr && *end == '\0' && date.size() == 10 ? timegm(&parts) : -1;
  // timegm accepts 2025-02-30 as March 2nd, so the parts are compared.
  if (end == nullptr || *end != '\0' || date.size() != 10 || parts.tm_mday != day || parts.tm_mon != month)
    throw Error(fmt::format(
        "--date {}: there is no such date; write it as YYYY-MM-DD, for example 2025-01-20", date));
  return seconds;
}

bool is_template_file(const std::filesystem::path& model) {
  std::error_code none;
  return std::filesystem::is_regular_file(model, none) && model.extension() != ".json" &&
         model.extension() != ".gguf";
}

// Reads a Jinja file, a GGUF file, a model's directory, or a JSON file in a model's directory, which stands
// for the directory.
ChatTemplates templates_of(const std::filesystem::path& model) {
  std::error_code none;
  if (is_template_file(model)) {
    if (const auto size = std::filesystem::file_size(model, none); size > kMaxTemplateBytes) {
      throw Error(fmt::format("{}: has {} bytes; a chat template has at most {}", model.string(), size,
                              kMaxTemplateBytes));
    }
    return ChatTemplates::of(read_file(model), model.string());
  }
  if (model.extension() == ".gguf" && std::filesystem::is_regular_file(model, none)) {
    ChatTemplates templates = read_gguf_chat_templates(GgufFile(model).metadata());
    if (templates.empty()) throw Error(model.string() + ": has no chat template (tokenizer.chat_template)");
    return templates;
  }
  const bool is_json = std::filesystem::is_regular_file(model, none);
  const std::filesystem::path directory = is_json ? std::filesystem::absolute(model).parent_path()
                                                  : std::filesystem::path(resolve_model(model.string()));
  ChatTemplates templates = ChatTemplates::load(directory);
  if (templates.empty()) throw Error(directory.string() + ": has no chat template");
  return templates;
}

std::optional<std::string> token_of(const Json& row, const char* name, bool is_file) {
  if (const Json* token = row.find(name); token != nullptr && !token->is_null()) return token->string();
  return is_file ? std::optional<std::string>("") : std::nullopt;  // nothing: the model's token is used
}

bool is_own_field(std::string_view name) {
  return name == "bos_token" || name == "eos_token" ||
         std::any_of(std::begin(kChatFields), std::end(kChatFields),
                     [&](const char* field) { return name == field; });
}

}  // namespace

int run_template(const TemplateOptions& options) {
  check_common(options.common);
  const bool is_file = is_template_file(options.model);
  const ChatTemplates templates = templates_of(options.model);
  std::optional<int64_t> now;
  if (!options.date.empty()) now = seconds_of_date(options.date);
  return answer_rows(options.input, [&](const Json& row) {
    ChatInput input = chat_input(row);
    input.bos_token = token_of(row, "bos_token", is_file);
    input.eos_token = token_of(row, "eos_token", is_file);
    input.now = now;
    for (const auto& [name, value] : row.members()) {
      if (is_own_field(name)) continue;
      if (input.kwargs.contains(name)) value.fail("is given in chat_template_kwargs too: give it once");
      input.kwargs.set(name, value);
    }
    return Json::object().set("rendered", templates.render(input));
  });
}

}  // namespace r1
