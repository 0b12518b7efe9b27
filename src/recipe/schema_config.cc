// recipe/schema_config.cc: derives the schema of a TOML file from the keys that its reader asks for.
#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "formats/config_file.h"
#include "recipe/recipe.h"
#include "recipe/schema.h"
#include "recipe/schema_assets.h"
#include "recipe/stages.h"

namespace r1 {
namespace {

using Asked = ConfigFile::Asked;

struct Kind {
  const char* name;
  std::vector<const char*> meanings;  // the sections of keys.json to search
  // At least two examples. Together they take every branch of the reader, and every key on which another
  // key's bound or default depends has two values.
  std::vector<const char*> examples;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> list = {
      {"pretrain",
       {"all", "evals", "documents", "pretrain"},
       {"name = 'a'\nmodel = 'm'\noptimizer.steps = 10\n[[eval]]\ntask = 'countdown3'\nevery = 5",
        "name = 'b'\nmodel.config.hidden_size = 8\ntokenizer.vocab_size = 300\noptimizer.steps = 20\n"
        "[[eval]]\ntask = 'countdown3'\nevery = 5",
        "name = 'c'\nmodel = 'm'\ndata.files = ['f']\noptimizer.steps = 20"}},
      {"sft",
       {"all", "evals", "validation", "documents", "sft"},
       {"name = 'a'\nmodel = 'm'\n[data]\nfiles = ['f']\nepochs = 1",
        "name = 'b'\nmodel = 'm'\ndata.files = ['f']\noptimizer.steps = 20\n"
        "[[eval]]\ntask = 'countdown3'\nevery = 5"}},
      {"grpo",
       {"all", "evals", "sampling", "grpo"},
       {"name = 'a'\nmodel = 'm'\noptimizer.steps = 10\n[[eval]]\ntask = 'countdown3'\nevery = 5",
        "name = 'b'\nmodel = 'm'\noptimizer.steps = 20\n[rollout]\nprompts = 8\nmax_tokens = 100\n"
        "[[reward.program]]\nname = 'p'\ncommand = ['c']\n[[reward.http]]\nname = 'h'\nurl = 'http://h'\n"
        "[[eval]]\ntask = 'countdown3'\nevery = 5"}},
      {"ppo",
       {"all", "evals", "sampling", "ppo", "grpo"},
       {"name = 'a'\nmodel = 'm'\noptimizer.steps = 10\n[[eval]]\ntask = 'countdown3'\nevery = 5",
        "name = 'b'\nmodel = 'm'\noptimizer.steps = 20\n[rollout]\nprompts = 8\nmax_tokens = 100\n"
        "[[reward.program]]\nname = 'p'\ncommand = ['c']\n[[reward.http]]\nname = 'h'\nurl = 'http://h'\n"
        "[[eval]]\ntask = 'countdown3'\nevery = 5"}},
      {"distill",
       {"all", "evals", "validation", "documents", "sampling", "distill"},
       {"name = 'a'\nteacher = 't'\nstudent = 's'\ndata.epochs = 1",
        "name = 'b'\nteacher = 't'\nstudent = 's'\noptimizer.steps = 20\nrollout.samples = 9\n"
        "[[eval]]\ntask = 'countdown3'\nevery = 5"}},
      {"recipe",
       {"all", "recipe"},
       {"name = 'a'\n[[stage]]\nname = 'e'\nkind = 'eval'\nmodel = 'm'\ntask = 'countdown3'\n"
        "[[stage]]\nname = 'd'\nkind = 'distill'\nconfig = 'd.toml'\n"
        "[[stage]]\nname = 'g'\nkind = 'grpo'\nconfig = 'g.toml'",
        "name = 'b'\n[[stage]]\nname = 'p'\nkind = 'pretrain'\nconfig = 'p.toml'"}},
  };
  return list;
}

// "stage[3].name" -> "stage[].name"
std::string without_index(const std::string& key) {
  const size_t open = key.find('['), close = key.find(']');
  return open == std::string::npos ? key : key.substr(0, open + 1) + key.substr(close);
}

// A key, as merged from all examples whose reader asks for it.
struct Merged {
  Asked asked;
  int64_t times = 0;
};
using Keys = std::map<std::string, Merged>;

void merge(const Asked& asked, Merged& into) {
  if (into.times++ == 0) {
    into.asked = asked;
    return;
  }
  Asked& known = into.asked;
  R1_CHECK(known.kind == asked.kind, "a key of two kinds");
  known.required = known.required && asked.required;
  if (known.fallback != asked.fallback) known.fallback = Json();
  if (known.low != asked.low) known.low = Json();
  if (known.high != asked.high) known.high = Json();
}

Keys asked_by(const Kind& kind) {
  Keys keys;
  int64_t examples = 0, stages = 0;
  for (const char* text : kind.examples) {
    ConfigFile file = ConfigFile::parse(text, std::string("an example of ") + kind.name);
    if (std::string_view(kind.name) == "recipe") {
      read_recipe_keys(file);
      stages += file.array_size("stage");
    } else {
      read_stage_keys(kind.name, file);
    }
    ++examples;
    for (const auto& [key, asked] : file.asked()) merge(asked, keys[without_index(key)]);
  }
  // A key that only some branches ask for is not required.
  for (auto& [key, merged] : keys) {
    const int64_t chances = key.find("[].") == std::string::npos ? examples : stages;
    if (merged.times < chances) merged.asked.required = false;
  }
  return keys;
}

std::string meaning_of(const Kind& kind, const std::string& key) {
  static const Json meanings = parse_json(schema_assets::keys_json(), "keys.json");
  for (const char* section : kind.meanings) {
    if (const Json* text = meanings.at(section).find(key)) return text->string();
  }
  R1_CHECK(false, "recipe/schema/keys.json does not say what ", key, " of ", kind.name, " means");
  return "";
}

Json leaf(const Asked& asked, const std::string& meaning) {
  Json json = Json::object();
  switch (asked.kind) {
    case Asked::Kind::text:
      json.set("type", "string");
      break;
    case Asked::Kind::integer:
      json.set("type", "integer");
      break;
    case Asked::Kind::number:
      json.set("type", "number");
      break;
    case Asked::Kind::boolean:
      json.set("type", "boolean");
      break;
    case Asked::Kind::numbers:
      json.set("type", "array").set("items", Json::object().set("type", "number"));
      break;
    case Asked::Kind::texts:
      json.set("type", "array").set("items", Json::object().set("type", "string"));
      break;
    case Asked::Kind::tables:
      json.set("type", "array").set("minItems", 1);
      break;
    case Asked::Kind::subtree:
      json.set("type", "object");
      break;
  }
  json.set("description", meaning);
  if (!asked.choices.empty()) json.set("enum", Json::array_of(asked.choices));
  if (!asked.low.is_null()) json.set("minimum", asked.low);
  if (!asked.high.is_null()) json.set("maximum", asked.high);
  const Json& fallback = asked.fallback;
  const bool says_something = !fallback.is_null() && !(fallback.is_string() && fallback.string().empty()) &&
                              !(fallback.is_array() && fallback.items().empty());
  if (!asked.required && says_something) json.set("default", fallback);
  return json;
}

// A table of the configuration; dotted keys become a tree of tables.
struct Table {
  std::optional<Json> own;  // set if the table's name is also a key, such as pretrain's model
  bool required = false;
  bool list = false;  // a list such as [[stage]]: `tables` describe each item
  std::map<std::string, Table> tables;
};

Json schema_of_table(const Table& table) {
  if (table.tables.empty()) return *table.own;
  Json properties = Json::object(), required = Json::array();
  for (const auto& [name, inner] : table.tables) {
    properties.set(name, schema_of_table(inner));
    if (inner.required) required.push_back(name);
  }
  Json json = Json::object();
  json.set("type", "object").set("additionalProperties", false).set("properties", std::move(properties));
  if (!required.items().empty()) json.set("required", std::move(required));
  if (!table.own) return json;
  Json own = *table.own;
  if (table.list) return own.set("items", std::move(json));
  return Json::object().set("anyOf", Json::array().push_back(std::move(own)).push_back(std::move(json)));
}

Json requiring(const char* table, const char* key) {
  const Json inner = Json::object().set("required", Json::array().push_back(key));
  return Json::object()
      .set("required", Json::array().push_back(table))
      .set("properties", Json::object().set(table, inner));
}

// Adds the rules that no single question to the ConfigFile shows.
void add_choices(std::string_view kind, Json& schema) {
  if (kind == "sft" || kind == "distill") {
    schema.set(
        "oneOf",
        Json::array().push_back(requiring("optimizer", "steps")).push_back(requiring("data", "epochs")));
  }
  if (kind == "pretrain") schema.set("required", Json::array_of(std::vector{"model", "name", "optimizer"}));
  if (kind != "recipe") return;
  Json properties = schema.at("properties"), stage = properties.at("stage"), items = stage.at("items");
  const auto wants = [](std::vector<const char*> keys) {
    return Json::object().set("required", Json::array_of(keys));
  };
  items.set("if", Json::object().set("properties",
                                     Json::object().set("kind", Json::object().set("const", "eval"))));
  items.set("then", wants({"model", "task"})).set("else", wants({"config"}));
  stage.set("items", std::move(items));
  properties.set("stage", std::move(stage));
  schema.set("properties", std::move(properties));
}

}  // namespace

Json config_schema(std::string_view name) {
  const auto kind =
      std::ranges::find_if(kinds(), [&](const Kind& k) { return std::string_view(k.name) == name; });
  R1_CHECK(kind != kinds().end(), "no configuration of kind ", name);
  // If [data] epochs is given, the reader sets optimizer.steps from it, so steps is not required.
  const bool either = name == "sft" || name == "distill";
  Table root;
  for (const auto& [key, merged] : asked_by(*kind)) {
    Asked asked = merged.asked;
    if (either && key == "optimizer.steps") asked.required = false;
    if (name == "pretrain" && key == "model") asked.fallback = Json();
    Table* at = &root;
    std::vector<Table*> above;
    for (size_t begin = 0; begin <= key.size();) {
      const size_t dot = std::min(key.find('.', begin), key.size());
      std::string part = key.substr(begin, dot - begin);
      if (part.ends_with("[]")) part.resize(part.size() - 2);
      above.push_back(at);
      at = &at->tables[part];
      begin = dot + 1;
    }
    at->own = leaf(asked, meaning_of(*kind, key));
    at->required = asked.required;
    at->list = asked.kind == Asked::Kind::tables;
    // A table with a required key is required. A list is not, if only its items have required keys.
    for (size_t i = 1; asked.required && i < above.size(); ++i) {
      if (key.find("[]") == std::string::npos) above[i]->required = true;
    }
  }
  Json schema = schema_of_table(root);
  add_choices(name, schema);
  return schema;
}

}  // namespace r1
