// recipe/schema.h: JSON schemas (draft 2020-12) of every file that the program reads or writes.
//
// A configuration's schema is derived from its reader. The reader runs over small examples, and the
// ConfigFile records the keys that it was asked for, with types, defaults and bounds. Whatever differs
// between the examples, such as a bound that is another key's value, is left out. Only the meanings of the
// keys are written by hand, in schema/keys.json. Files and rows are described in schema/files.json and
// schema/rows.json; tests check real ones against these.
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

// Returns the schema of `name`, one of the above; a file's extension may be omitted. Throws Error that names
// the nearest name if there is none.
Json schema_of(std::string_view name);

// Returns the schema of a TOML file. `kind` is pretrain, sft, grpo, ppo, distill or recipe (schema_config.cc).
Json config_schema(std::string_view kind);

}  // namespace r1
