// cli/doctor.h: the parts of `r1 doctor`: the machine (doctor_machine.cc), self checks (doctor_checks.cc),
// and the comparison with transformers (doctor_transformers.cc).
#pragma once

#include <string>
#include <vector>

#include "base/threads.h"
#include "cli/common.h"
#include "formats/json.h"

namespace r1 {

// One line of the answer. A check that throws has failed.
struct Check {
  std::string name;
  bool ok = false;
  std::string detail;  // what was seen; of a failed one also what to do
};

// What the machine is and can do, and what stands in its way.
struct MachineReport {
  Json facts;                         // as r1 schema doctor-output says
  std::vector<std::string> warnings;  // a line each, what to do included
};
MachineReport examine_machine(ThreadPool& threads);
std::string machine_text(const Json& facts);

// Kernels and random numbers, without a model.
std::vector<Check> machine_checks(ThreadPool& threads);
// A model's directory: files, tokenizer, memory, and the one forward.
std::vector<Check> model_checks(const std::filesystem::path& directory, ThreadPool& threads);

// Runs transformers on some rows of tokens, in f32, with that Python. Throws Error, that says how to get it,
// where Python or a package is missing. Opens no outbound connection.
Check compare_with_transformers(const std::filesystem::path& directory, const std::string& python,
                                ThreadPool& threads);

}  // namespace r1
