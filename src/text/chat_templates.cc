#include "text/chat_templates.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer_config.h"

namespace r1 {
namespace {

constexpr const char* kJinjaFile = "chat_template.jinja";
constexpr const char* kJsonFile = "chat_template.json";
constexpr const char* kFolder = "additional_chat_templates";

using Source = ChatTemplates::Named;

void put(std::vector<Source>& sources, Source source) {
  for (Source& known : sources) {
    if (known.name == source.name) {
      known = std::move(source);
      return;
    }
  }
  sources.push_back(std::move(source));
}

// Reads chat_template of tokenizer_config.json or chat_template.json.
void read_field(const Json& file, std::vector<Source>& sources) {
  const Json* value = file.find("chat_template");
  if (value == nullptr || value->is_null()) return;
  const std::string where = file.source() + ": chat_template";
  if (value->is_string()) {
    put(sources, {"default", value->string(), where});
  } else if (value->is_object()) {
    for (const auto& [name, text] : value->members()) put(sources, {name, text.string(), where + "." + name});
  } else {
    for (const Json& named : value->items()) {
      const std::string& name = named.get_string("name");
      put(sources, {name, named.get_string("template"), fmt::format("{} {}", where, name)});
    }
  }
}

std::vector<std::filesystem::path> jinja_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  if (std::filesystem::exists(directory / kJinjaFile)) files.push_back(directory / kJinjaFile);
  const size_t first = files.size();
  if (std::filesystem::is_directory(directory / kFolder)) {
    for (const auto& entry : std::filesystem::directory_iterator(directory / kFolder)) {
      if (entry.path().extension() == ".jinja") files.push_back(entry.path());
    }
  }
  std::sort(files.begin() + static_cast<std::ptrdiff_t>(first), files.end());
  return files;
}

std::vector<Source> sources_of(const std::filesystem::path& directory) {
  std::vector<Source> sources;
  if (const auto config = directory / "tokenizer_config.json"; std::filesystem::exists(config))
    read_field(read_json(config), sources);
  for (const auto& file : jinja_files(directory)) {
    const bool is_default = file.filename() == kJinjaFile && file.parent_path() == directory;
    put(sources, {is_default ? "default" : file.stem().string(), read_file(file), file.string()});
  }
  if (const auto legacy = directory / kJsonFile; sources.empty() && std::filesystem::exists(legacy))
    read_field(read_json(legacy), sources);
  return sources;
}

// Returns the named special tokens that transformers passes to a template.
Json special_tokens_of(const std::filesystem::path& directory) {
  const TokenizerConfig config = load_tokenizer_config(directory);
  Json tokens = Json::object();
  if (!config.bos.empty()) tokens.set("bos_token", config.bos);
  if (!config.eos.empty()) tokens.set("eos_token", config.eos);
  if (!config.pad.empty()) tokens.set("pad_token", config.pad);
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    if (!std::filesystem::exists(directory / file)) continue;
    const Json json = read_json(directory / file);
    for (const char* name : {"unk_token", "sep_token", "cls_token", "mask_token"}) {
      const Json* token = json.find(name);
      if (token == nullptr || token->is_null() || tokens.contains(name)) continue;
      tokens.set(name, token->is_object() ? token->get_string("content") : token->string());
    }
  }
  return tokens;
}

}  // namespace

ChatTemplates ChatTemplates::load(const std::filesystem::path& directory) {
  const std::vector<Source> sources = sources_of(directory);
  return of(sources, sources.empty() ? Json::object() : special_tokens_of(directory));
}

std::vector<ChatTemplates::Named> ChatTemplates::named(const std::filesystem::path& directory) {
  return sources_of(directory);
}

ChatTemplates ChatTemplates::of(const std::vector<Named>& named, Json special_tokens) {
  ChatTemplates out;
  for (const Named& source : named) {
    out.text_ += out.empty() ? source.text : fmt::format("\n{}\n{}", source.name, source.text);
    out.templates_.emplace_back(source.name, ChatTemplate(source.text, source.where));
  }
  out.special_tokens_ = std::move(special_tokens);
  return out;
}

ChatTemplates ChatTemplates::of(const std::string& text, const std::string& source) {
  ChatTemplates out;
  out.text_ = text;
  out.templates_.emplace_back("default", ChatTemplate(text, source));
  return out;
}

std::vector<std::string> ChatTemplates::files(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& file : jinja_files(directory))
    names.push_back(file.lexically_relative(directory).string());
  if (std::filesystem::exists(directory / kJsonFile)) names.emplace_back(kJsonFile);
  return names;
}

const ChatTemplate& ChatTemplates::pick(bool has_tools) const {
  if (templates_.empty()) throw Error("the model has no chat template");
  if (templates_.size() == 1) return templates_.front().second;
  const auto named = [&](std::string_view wanted) -> const ChatTemplate* {
    for (const auto& [name, chat] : templates_) {
      if (name == wanted) return &chat;
    }
    return nullptr;
  };
  const ChatTemplate* found = has_tools ? named("tool_use") : nullptr;
  if (found == nullptr) found = named("default");
  if (found != nullptr) return *found;
  std::string names;
  for (const auto& [name, chat] : templates_) names += (names.empty() ? "" : ", ") + name;
  throw Error(fmt::format("the model has several chat templates ({}), but none is named default", names));
}

ChatInput ChatTemplates::with_special_tokens(const ChatInput& input) const {
  ChatInput out = input;
  const auto fill = [&](std::optional<std::string>& token, const char* name) {
    if (const Json* own = special_tokens_.find(name); own != nullptr && !token) token = own->string();
  };
  fill(out.bos_token, "bos_token");
  fill(out.eos_token, "eos_token");
  for (const auto& [name, token] : special_tokens_.members()) {
    if (name != "bos_token" && name != "eos_token" && !out.kwargs.contains(name)) out.kwargs.set(name, token);
  }
  return out;
}

std::string ChatTemplates::render(const ChatInput& input) const {
  const ChatTemplate& chat = pick(!input.tools.is_null());
  ChatInput ready = with_special_tokens(input);
  ready.messages = chat.with_readable_content(input.messages);
  return chat.render(ready);
}

std::string ChatTemplates::render_adapted(const ChatInput& input) const {
  const ChatTemplate& chat = pick(!input.tools.is_null());
  ChatInput ready = with_special_tokens(input);
  ready.messages = chat.adapted(input.messages);
  return chat.render(ready);
}

}  // namespace r1
