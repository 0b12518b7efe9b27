#include "recipe/schema.h"

#include <algorithm>

#include "base/error.h"
#include "base/text_util.h"
#include "recipe/schema_assets.h"

namespace r1 {
namespace {

const std::vector<SchemaName>& config_names() {
  static const std::vector<SchemaName> names = {
      {"pretrain", "CONFIG.toml of r1 pretrain"}, {"sft", "CONFIG.toml of r1 sft"},
      {"grpo", "CONFIG.toml of r1 grpo"},         {"ppo", "CONFIG.toml of r1 ppo"},
      {"distill", "CONFIG.toml of r1 distill"},   {"recipe", "CONFIG.toml of r1 recipe"},
  };
  return names;
}

struct Assets {
  Json definitions;
  std::vector<Json> groups;  // each item is name -> {"summary", "schema"}
};

const Assets& assets() {
  static const Assets all = [] {
    const Json files = parse_json(schema_assets::files_json(), "files.json");
    const Json rows = parse_json(schema_assets::rows_json(), "rows.json");
    return Assets{files.at("$defs"), {files.at("schemas"), rows.at("schemas")}};
  }();
  return all;
}

constexpr std::string_view kReference = "#/$defs/";

// Adds the names of all definitions that `json` refers to, directly or through other definitions.
void collect_references(const Json& json, std::vector<std::string>& names) {
  if (json.is_array()) {
    for (const Json& item : json.items()) collect_references(item, names);
  }
  if (!json.is_object()) return;
  for (const auto& [key, value] : json.members()) {
    if (key != "$ref" || !value.is_string()) {
      collect_references(value, names);
      continue;
    }
    R1_CHECK(value.string().starts_with(kReference), value.string());
    const std::string name = value.string().substr(kReference.size());
    if (std::ranges::find(names, name) != names.end()) continue;
    names.push_back(name);
    collect_references(assets().definitions.at(name), names);
  }
}

Json whole(const SchemaName& name, const Json& schema) {
  Json json = Json::object();
  json.set("$schema", "https://json-schema.org/draft/2020-12/schema").set("title", name.name);
  json.set("description", name.summary);
  for (const auto& [key, value] : schema.members()) {
    if (key == "description") {
      json.set(key, name.summary + "; " + value.string());
    } else {
      json.set(key, value);
    }
  }
  std::vector<std::string> references;
  collect_references(schema, references);
  if (references.empty()) return json;
  Json definitions = Json::object();
  for (const std::string& reference : references)
    definitions.set(reference, assets().definitions.at(reference));
  return json.set("$defs", std::move(definitions));
}

std::string without_extension(const std::string& name) {
  return name.substr(0, name.find('.'));
}

}  // namespace

std::vector<SchemaName> schema_names() {
  std::vector<SchemaName> names = config_names();
  for (const Json& group : assets().groups) {
    for (const auto& [name, entry] : group.members()) names.push_back({name, entry.get_string("summary")});
  }
  return names;
}

Json schema_of(std::string_view wanted) {
  const std::vector<SchemaName> names = schema_names();
  const auto is_wanted = [&](const std::string& name) {
    return name == wanted || without_extension(name) == wanted;
  };
  auto at = std::ranges::find(names, wanted, &SchemaName::name);  // recipe and recipe.json differ
  if (at == names.end()) at = std::ranges::find_if(names, is_wanted, &SchemaName::name);
  if (at == names.end()) {
    std::vector<std::string> known;
    for (const SchemaName& n : names) known.insert(known.end(), {n.name, without_extension(n.name)});
    const std::string near = nearest_name(wanted, known);
    throw Error("no schema is called " + std::string(wanted) +
                (near.empty() ? " (r1 schema lists them)" : " (did you mean " + near + "?)"));
  }
  if (std::ranges::find(config_names(), at->name, &SchemaName::name) != config_names().end())
    return whole(*at, config_schema(at->name));
  for (const Json& group : assets().groups) {
    if (const Json* entry = group.find(at->name)) return whole(*at, entry->at("schema"));
  }
  R1_CHECK(false, "schema ", at->name, " is listed but not there");
  return {};
}

}  // namespace r1
