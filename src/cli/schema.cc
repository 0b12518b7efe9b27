// cli/schema.cc: `r1 schema`: prints the JSON schema of a file that the program reads or writes.
#include "recipe/schema.h"

#include <fmt/format.h>

#include "cli/common.h"
#include "cli/output.h"

namespace r1 {

int run_schema(const SchemaOptions& options) {
  check_common(options.common);
  if (!options.name.empty()) {
    write_stdout(schema_of(options.name).dump(options.common.json ? 0 : 2) + "\n");
    return 0;
  }
  const std::vector<SchemaName> names = schema_names();
  if (options.common.json) {
    Json json = Json::object();
    for (const SchemaName& n : names) json.set(n.name, n.summary);
    write_stdout(json.dump() + "\n");
    return 0;
  }
  std::string text;
  for (const SchemaName& n : names) text += fmt::format("{:<20} {}\n", n.name, n.summary);
  write_stdout(text);
  return 0;
}

}  // namespace r1
