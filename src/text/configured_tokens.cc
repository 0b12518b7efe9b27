#include "text/configured_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "formats/json.h"
#include "text/tokenizer_spec.h"

namespace r1 {
namespace {

constexpr std::string_view kNamed[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};

Json read_if_there(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? read_json(path) : Json::object();
}

const Json* present(const Json& object, std::string_view field) {
  const Json* value = object.find(field);
  return value == nullptr || value->is_null() ? nullptr : value;
}

AddedToken flagged(const Json& value, bool special) {
  AddedToken token;
  token.content = value.get_string("content");
  token.special = special;
  token.normalized = value.get_bool_or("normalized", !special);
  token.lstrip = value.get_bool_or("lstrip", false);
  token.rstrip = value.get_bool_or("rstrip", false);
  token.single_word = value.get_bool_or("single_word", false);
  return token;
}

// Reads a named special token: its content, or an object with its flags.
AddedToken special_token(const Json& value) {
  return value.is_object() ? flagged(value, true) : AddedToken{.content = value.string()};
}

int32_t checked_id(const Json& value, int64_t id) {
  if (id < 0 || id > kMaxTokenId)
    value.fail(fmt::format("has id {}; it must be between 0 and {}", id, kMaxTokenId));
  return static_cast<int32_t>(id);
}

// Reads added_tokens_decoder {"id": {"content", flags}}, ordered by id.
std::map<int32_t, AddedToken> read_decoder(const Json& decoder) {
  std::map<int32_t, AddedToken> tokens;
  for (const auto& [name, value] : decoder.members()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size())
      value.fail("has a name that is no token id");
    AddedToken token = flagged(value, value.get_bool_or("special", false));
    token.id = checked_id(value, id);
    tokens[token.id] = std::move(token);
  }
  return tokens;
}

// Reads added_tokens.json {"content": id}, ordered by id. A token is special if it is a named one.
std::map<int32_t, AddedToken> read_legacy(const Json& file, const std::vector<AddedToken>& named) {
  std::map<int32_t, AddedToken> tokens;
  for (const auto& [content, value] : file.members()) {
    const bool special = std::ranges::find(named, content, &AddedToken::content) != named.end();
    const int32_t id = checked_id(value, value.integer());
    tokens[id] = {.content = content, .id = id, .special = special, .normalized = !special};
  }
  return tokens;
}

// Returns the special tokens that `first` names. For fields that `first` lacks, `second` is used.
std::vector<AddedToken> read_named(const Json& first, const Json& second) {
  std::vector<AddedToken> tokens;
  const auto put = [&](const Json& value) {
    if (value.is_string() || value.is_object()) tokens.push_back(special_token(value));
  };
  for (const std::string_view field : kNamed) {
    const Json* value = present(first, field);
    if (value == nullptr) value = present(second, field);
    if (value != nullptr) tokens.push_back(special_token(*value));
  }
  const auto is_other = [](std::string_view field) {
    return field.ends_with("_token") && std::ranges::find(kNamed, field) == std::end(kNamed);
  };
  for (const auto& [field, value] : first.members()) {
    if (is_other(field)) put(value);
  }
  for (const auto& [field, value] : second.members()) {
    if (is_other(field) && present(first, field) == nullptr) put(value);
  }
  for (const Json* file : {&first, &second}) {
    for (const std::string_view field : {"extra_special_tokens", "additional_special_tokens"}) {
      const Json* list = present(*file, field);
      if (list == nullptr) continue;
      if (list->is_object()) {
        for (const auto& [name, value] : list->members()) put(value);
      } else {
        for (const Json& value : list->items()) {
          put(value);
          // Here the flag "special" is read, unlike in a named token.
          if (value.is_object()) tokens.back().special = value.get_bool_or("special", true);
        }
      }
    }
  }
  return tokens;
}

}  // namespace

std::vector<AddedToken> configured_tokens(const std::filesystem::path& directory) {
  const Json config = read_if_there(directory / "tokenizer_config.json");
  const Json* decoder = present(config, "added_tokens_decoder");
  const Json map = decoder == nullptr ? read_if_there(directory / "special_tokens_map.json") : Json::object();
  const std::vector<AddedToken> named = read_named(map, config);
  std::map<int32_t, AddedToken> listed =
      decoder != nullptr ? read_decoder(*decoder)
                         : read_legacy(read_if_there(directory / "added_tokens.json"), named);
  std::vector<AddedToken> tokens;
  for (auto& [id, token] : listed) {
    token.special =
        token.special || std::ranges::find(named, token.content, &AddedToken::content) != named.end();
    tokens.push_back(std::move(token));
  }
  for (AddedToken token : named) {
    token.if_known = decoder != nullptr ? AddedToken::IfKnown::keep : AddedToken::IfKnown::make_special;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace r1
