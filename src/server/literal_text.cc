#include "server/literal_text.h"

#include <algorithm>

#include "base/error.h"
#include "server/tool_prompt.h"
#include "text/think.h"
#include "text/utf8.h"

namespace r1 {

LiteralText::LiteralText(const Tokenizer& tokenizer) {
  const auto add = [&](const std::string& text) {
    if (!text.empty()) tokens_[text.front()].push_back(text);
  };
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id)) add(tokenizer.token_of(id));
  }
  for (const std::string_view marker : kToolMarkers) {
    if (tokenizer.id_of(marker)) add(std::string(marker));
  }
  add(std::string(kThinkOpen));
  add(std::string(kThinkClose));
}

std::string LiteralText::marked_text(const std::string& text, bool keep_tags, const std::string& mark,
                                     bool* found) const {
  std::string out;
  size_t copied = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto known = tokens_.find(text[at]);
    if (known == tokens_.end()) continue;
    const std::string_view rest = std::string_view(text).substr(at);
    const bool begins = std::ranges::any_of(known->second, [&](const std::string& token) {
      return rest.starts_with(token) && !(keep_tags && (token == kThinkOpen || token == kThinkClose));
    });
    if (!begins) continue;
    // Behind the first character, so that no character is torn.
    const size_t end = at + static_cast<size_t>(decode_utf8(text, at).size);
    out.append(text, copied, end - copied).append(mark);
    copied = end;
    *found = true;
  }
  return out.append(text, copied);
}

Json LiteralText::marked(const Json& value, bool keep_tags, const std::string& mark, bool* found) const {
  if (value.is_string()) {
    bool here = false;
    std::string text = marked_text(value.string(), keep_tags, mark, &here);
    if (!here) return value;
    *found = true;
    return text;
  }
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value.items()) out.push_back(marked(item, keep_tags, mark, found));
    return out;
  }
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [name, item] : value.members()) out.set(name, marked(item, keep_tags, mark, found));
    return out;
  }
  return value;
}

LiteralText::Marked LiteralText::mark(const Json& messages, const Json& tools) const {
  const std::string all = messages.dump() + tools.dump();
  constexpr char32_t kFirst = 0xFDD0, kLast = 0xFDEF;  // code points that are no characters
  for (char32_t code = kFirst; code <= kLast; ++code) {
    std::string mark;
    append_utf8(mark, code);
    if (all.find(mark) != std::string::npos) continue;
    bool found = false;
    Json out = Json::array();
    for (const Json& message : messages.items())
      out.push_back(marked(message, message.get_string_or("role", "") == "assistant", mark, &found));
    Json marked_tools = marked(tools, false, mark, &found);
    if (!found) return {.messages = messages, .tools = tools, .mark = ""};
    return {.messages = std::move(out), .tools = std::move(marked_tools), .mark = std::move(mark)};
  }
  throw Error(
      "the messages have every code point from U+FDD0 to U+FDEF, which are no characters: leave one out");
}

std::vector<int32_t> LiteralText::encode(const Tokenizer& tokenizer, const std::string& text,
                                         const std::string& mark) const {
  return mark.empty() ? tokenizer.encode(text, false) : tokenizer.encode_marked(text, mark);
}

}  // namespace r1
