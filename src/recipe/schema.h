// recipe/schema.h: JSON schemas (draft 2020-12) of every file that the program reads or writes.
//
// A configuration's schema is derived from its reader: the reader runs over small examples, the ConfigFile
// remembers what it was asked for, with types, defaults and bounds, and what differs between the examples
// (a bound that is another key's value) is left out. Only what the keys mean stands in schema/keys.json.
// Files and rows are described in schema/files.json and schema/rows.json; tests hold real ones against them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

struct SchemaName {
  std::string name;     // "grpo", "metrics.jsonl", "score-input"
  std::string summary;  // one line
};
std::vector<SchemaName> schema_names();

// `name` as above; of a file, also without its extension. Throws Error that names the nearest.
Json schema_of(std::string_view name);

// Of a TOML file: kind is pretrain, sft, grpo, distill or recipe (schema_config.cc).
Json config_schema(std::string_view kind);

}  // namespace r1
