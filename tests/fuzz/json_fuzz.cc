// For any bytes, parse_json returns a value or throws Error. An accepted text has the same meaning for
// nlohmann, an independent parser. If only nlohmann accepts a text, a rule of ours refuses it (duplicates,
// depth). Reading the value like a configuration gives a value or an Error.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/json.h"

namespace {

using r1::Json;

void require(bool condition) {
  if (!condition) std::abort();
}

bool same(const Json& ours, const nlohmann::json& theirs) {
  switch (ours.kind()) {
    case Json::Kind::null:
      return theirs.is_null();
    case Json::Kind::boolean:
      return theirs.is_boolean() && theirs.get<bool>() == ours.boolean();
    case Json::Kind::integer:
    case Json::Kind::number:
      return theirs.is_number() && theirs.get<double>() == ours.number() &&
             nlohmann::json::parse(ours.literal()) == theirs;
    case Json::Kind::string:
      return theirs.is_string() && theirs.get_ref<const std::string&>() == ours.string();
    case Json::Kind::array:
      if (!theirs.is_array() || theirs.size() != ours.size()) return false;
      for (size_t i = 0; i < ours.size(); ++i) {
        if (!same(ours.at(i), theirs[i])) return false;
      }
      return true;
    case Json::Kind::object:
      if (!theirs.is_object() || theirs.size() != ours.size()) return false;
      for (const Json::Member& member : ours.members()) {
        if (ours.find(member.first) != &member.second) return false;
        if (!theirs.contains(member.first) || !same(member.second, theirs[member.first])) return false;
      }
      return true;
  }
  return false;
}

bool has_huge_number(const Json& json) {
  if (json.is_array()) return std::ranges::any_of(json.items(), has_huge_number);
  if (json.is_object()) {
    return std::ranges::any_of(json.members(),
                               [](const Json::Member& m) { return has_huge_number(m.second); });
  }
  if (!json.is_number() || json.is_integer()) return false;
  try {
    return !std::isfinite(json.number());
  } catch (const r1::Error&) {
    return true;
  }
}

void read_like_a_config(const Json& config) {
  const auto attempt = [](const auto& read) {
    try {
      read();
    } catch (const r1::Error& error) {
      require(std::string_view(error.what()).starts_with("fuzz"));
    }
  };
  attempt([&] { config.get_int("hidden_size"); });
  attempt([&] { config.get_int_or("num_key_value_heads", 3); });
  attempt([&] { config.get_bool_or("tie_word_embeddings", false); });
  attempt([&] { config.get_string_or("torch_dtype", "float32"); });
  attempt([&] { config.at("rope_scaling").at("factor").number(); });
  attempt([&] { config.at(0).fail("is refused"); });
  if (config.is_object()) {
    for (const Json::Member& member : config.members()) attempt([&] { member.second.at("x").number(); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool comparable = text.find('\0') == std::string_view::npos && !text.starts_with("\xEF\xBB\xBF");
  nlohmann::json theirs = nlohmann::json::parse(text, nullptr, false);
  try {
    const Json ours = r1::parse_json(text, "fuzz");
    // nlohmann refuses numbers beyond a double's range. parse_json keeps their text.
    const bool huge = has_huge_number(ours);
    require(!comparable || huge || (!theirs.is_discarded() && same(ours, theirs)));
    require(r1::parse_json(ours.dump(), "fuzz") == ours);
    require(r1::parse_json(ours.dump(2), "fuzz") == ours);
    require(Json(ours) == ours);
    read_like_a_config(ours);
  } catch (const r1::Error& error) {
    const std::string_view why = error.what();
    require(why.starts_with("fuzz: ") && why.find('\n') == std::string_view::npos);
    const bool our_rule = why.find("appears twice") != std::string_view::npos ||
                          why.find("nested deeper") != std::string_view::npos;
    require(!comparable || theirs.is_discarded() || our_rule);
  }
  return 0;
}
