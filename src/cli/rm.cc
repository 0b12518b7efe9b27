// cli/rm.cc: `r1 rm`: removes a model from the cache.
#include <fmt/format.h>

#include <iostream>

#include "base/ascii.h"
#include "base/byte_text.h"
#include "base/error.h"
#include "cli/common.h"
#include "cli/output.h"
#include "formats/hub_cache.h"
#include "formats/json.h"

namespace r1 {
namespace {

bool is_confirmed(const RmOptions& options, const HubName& name, const HubRemoval& removal) {
  if (options.yes) return true;
  if (!stdin_is_terminal() || !stderr_is_terminal())
    throw Error(
        fmt::format("rm asks before it removes {}, and there is no terminal: add --yes", name.text()));
  write_stderr(fmt::format("Remove {} ({} on disk)? [y/N] ", name.text(), byte_text(removal.bytes)));
  std::string answer;
  std::getline(std::cin, answer);
  const std::string_view word = trim(answer);
  return equal_ignoring_case(word, "y") || equal_ignoring_case(word, "yes");
}

}  // namespace

int run_rm(const RmOptions& options) {
  check_common(options.common);
  const HubName name = hub_name_of(options.model);
  const std::filesystem::path cache = hub_cache_folder();
  const HubRemoval removal = plan_removal(name, cache);
  const bool remove = is_confirmed(options, name, removal);
  if (remove) remove_from_hub_cache(name, removal, cache);
  const int64_t bytes = remove ? removal.bytes : 0;
  if (options.common.json) {
    write_stdout(Json::object().set("model", name.text()).set("removed", remove).set("bytes", bytes).dump() +
                 "\n");
  } else {
    write_stderr(remove ? fmt::format("r1: {} is removed; {} are free again\n", name.text(), byte_text(bytes))
                        : "r1: nothing was removed\n");
  }
  return 0;
}

}  // namespace r1
