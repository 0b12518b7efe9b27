// cli/doctor.cc: `r1 doctor`: reports the machine and runs the self checks.
#include "cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/output.h"
#include "tensor/gpu.h"

namespace r1 {

int run_doctor(const DoctorOptions& options) {
  check_common(options.common);
  const std::filesystem::path directory = resolve_model(options.model);
  ThreadPool threads(thread_count(options.common));
  // This check comes first because it reports a missing package at once.
  std::vector<Check> peer;
  if (options.against_transformers)
    peer.push_back(compare_with_transformers(directory, options.python, threads));
  const MachineReport machine = examine_machine(threads);
  if (!options.common.json) write_stdout(machine_text(machine.facts));
  std::vector<Check> checks = machine_checks(threads);
  const std::string device = !options.common.device.empty()       ? options.common.device
                             : preferred_device() == Device::cuda ? "cuda"
                                                                  : "cpu";
  for (Check& check : model_checks(directory, threads, device)) checks.push_back(std::move(check));
  checks.insert(checks.end(), peer.begin(), peer.end());
  const bool ok = std::ranges::all_of(checks, &Check::ok);
  if (options.common.json) {
    Json rows = Json::array();
    for (const Check& c : checks)
      rows.push_back(Json::object().set("name", c.name).set("ok", c.ok).set("detail", c.detail));
    Json json = Json::object();
    json.set("ok", ok).set("machine", machine.facts).set("warnings", Json::array_of(machine.warnings));
    json.set("model", directory.string()).set("checks", std::move(rows));
    write_stdout(json.dump() + "\n");
    return ok ? 0 : 1;
  }
  std::string text = fmt::format("checks, with {}\n", directory.string());
  for (const Check& c : checks)
    text += fmt::format("  {:<7} {}: {}\n", c.ok ? "ok" : "FAILED", c.name, c.detail);
  for (const std::string& warning : machine.warnings) text += fmt::format("  warning {}\n", warning);
  write_stdout(text);
  return ok ? 0 : 1;
}

}  // namespace r1
