// cli/pull.h: downloads a model for a command.
#pragma once

#include <filesystem>
#include <string>

#include "cli/commands.h"

namespace r1 {

// resolve_model(name); but if it is a model of the hub that is not in the cache, and somebody sits at the
// terminal, asks whether to download it, and does.
std::filesystem::path resolve_or_pull(const std::string& name);

}  // namespace r1
