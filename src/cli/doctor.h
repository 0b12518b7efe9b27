// cli/doctor.h: the parts of `r1 doctor`: the machine (doctor_machine.cc), self checks (doctor_checks.cc),
// and the comparison with transformers (doctor_transformers.cc).
#pragma once

#include <string>
#include <vector>

#include "base/threads.h"
#include "cli/common.h"
#include "formats/json.h"

namespace r1 {

// One line of the output. A check that throws has failed.
struct Check {
  std::string name;
  bool ok = false;
  std::string detail;  // the finding; for a failed check also what to do
};

// The machine's properties, and warnings about what limits it.
struct MachineReport {
  Json facts;                         // in the format of `r1 schema doctor-output`
  std::vector<std::string> warnings;  // one line each, with what to do
};
MachineReport examine_machine(ThreadPool& threads);
std::string machine_text(const Json& facts);

// Checks of kernels and random numbers, without a model.
std::vector<Check> machine_checks(ThreadPool& threads);
// Checks of a model's directory: files, tokenizer, memory, and the one forward, on the CPU and on `device`
// ("": the CPU alone), which must give the CPU's bits.
std::vector<Check> model_checks(const std::filesystem::path& directory, ThreadPool& threads,
                                const std::string& device);

// Compares the logits of some rows of tokens with those of transformers in f32, run by the given Python.
// Throws Error, with how to install it, if Python or a package is missing. Opens no outbound connection.
Check compare_with_transformers(const std::filesystem::path& directory, const std::string& python,
                                ThreadPool& threads);

}  // namespace r1
