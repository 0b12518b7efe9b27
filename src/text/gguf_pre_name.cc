// Finds the name of a tokenizer.json's pre-tokenizer among those that GGUF files use.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "text/gguf_pretokenizers.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// The best known of several names with the same rules.
constexpr std::string_view kPreferred[] = {"llama-bpe",      "qwen2",    "deepseek-v3", "deepseek-llm",
                                           "deepseek-coder", "gpt-2",    "smollm",      "gpt-4o",
                                           "tekken",         "smaug-bpe"};

// Line ends as escapes, and \x{4E00} as the letter.
std::string same_letters(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\r' || c == '\n') {
      out += c == '\r' ? "\\r" : "\\n";
      continue;
    }
    if (c == '\\' && i + 1 < pattern.size()) {
      const size_t end = pattern.find('}', i);
      uint32_t letter = 0;
      if (pattern.substr(i, 3) == "\\x{" && end != std::string_view::npos &&
          std::from_chars(pattern.data() + i + 3, pattern.data() + end, letter, 16).ptr ==
              pattern.data() + end &&
          letter >= 0x80) {
        append_utf8(out, static_cast<char32_t>(letter));
        i = end;
        continue;
      }
      out += c;
      out += pattern[++i];
      continue;
    }
    out += c;
  }
  return out;
}

// One line per step, in order; nothing for a step that no name has.
bool add_steps(const Json& pre, std::vector<std::string>& steps) {
  if (!pre.is_object()) return false;
  const std::string type = pre.get_string_or("type", "");
  if (type == "Sequence") {
    const Json* parts = pre.find("pretokenizers");
    return parts != nullptr && parts->is_array() &&
           std::ranges::all_of(parts->items(), [&](const Json& part) { return add_steps(part, steps); });
  }
  if (type == "ByteLevel") {
    steps.push_back(fmt::format("bytes {} {}", pre.get_bool_or("add_prefix_space", true),
                                pre.get_bool_or("use_regex", true)));
    return true;
  }
  if (type == "Digits") {
    steps.push_back(fmt::format("digits {}", pre.get_bool_or("individual_digits", false)));
    return true;
  }
  if (type != "Split") return false;
  const Json* pattern = pre.find("pattern");
  const Json* regex = pattern == nullptr || !pattern->is_object() ? nullptr : pattern->find("Regex");
  if (regex == nullptr || !regex->is_string()) return false;
  steps.push_back(fmt::format("split {} {} {}", pre.get_string_or("behavior", ""),
                              pre.get_bool_or("invert", false), same_letters(regex->string())));
  return true;
}

std::string normalizer_name(const Json* normalizer) {
  if (normalizer == nullptr || normalizer->is_null()) return "";
  const std::string type = normalizer->get_string_or("type", "?");
  if (type != "Sequence") return type;
  const Json* parts = normalizer->find("normalizers");
  if (parts == nullptr || !parts->is_array()) return "?";
  if (parts->size() == 0) return "";
  return parts->size() == 1 ? normalizer_name(&parts->items().front()) : "?";
}

}  // namespace

std::string_view gguf_pre_tokenizer_name(const Json& tokenizer_json) {
  const Json* pre = tokenizer_json.find("pre_tokenizer");
  const Json* model = tokenizer_json.find("model");
  std::vector<std::string> wanted;
  if (pre == nullptr || model == nullptr || !add_steps(*pre, wanted)) return "";
  const bool ignore_merges = model->get_bool_or("ignore_merges", false);
  const std::string normalizer = normalizer_name(tokenizer_json.find("normalizer"));
  const auto is_same = [&](std::string_view name) {
    const GgufPreTokenizer rules = gguf_pre_tokenizer(name);
    std::vector<std::string> steps;
    return rules.ignore_merges == ignore_merges && normalizer_name(&rules.normalizer) == normalizer &&
           add_steps(rules.pre_tokenizer, steps) && steps == wanted;
  };
  const std::vector<std::string_view> names = gguf_pre_tokenizer_names();
  for (const std::string_view name : kPreferred) {
    if (std::ranges::find(names, name) != names.end() && is_same(name)) return name;
  }
  const auto found = std::ranges::find_if(names, is_same);
  return found == names.end() ? "" : *found;
}

}  // namespace r1
