// cli/job_identity.h: everything that determines the rows of a command. A journal stores it
// (formats/journal.h), and --resume requires the same.
#pragma once

#include <filesystem>
#include <string>

#include "cli/commands.h"
#include "formats/json.h"
#include "model/model.h"

namespace r1 {

// {"command", "model weights", "model files", "--numerics"}. The model's files are its configuration,
// tokenizer and chat template. --batch, --threads and the like change no bit and are not part of it.
Json job_identity(const std::string& command, const std::filesystem::path& directory, const Model& model,
                  Numerics numerics);

// Adds the flags that were given: {"--temperature": 0.7, ..., "--seed": 0}. Defaults are in the model's
// files.
void add_flags(Json& identity, const SamplingFlags& flags);

// Returns the command that resumes: the command line, with --resume added if it has none.
std::string resume_command(const CommonOptions& common, bool resume);

}  // namespace r1
