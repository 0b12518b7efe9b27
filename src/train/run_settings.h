// train/run_settings.h: the settings and inputs that a run was begun with, and which may change when it is
// resumed.
//
// A run's directory keeps two tables: the value of every setting, defaults included, so that equivalent files
// compare equal; and a hash of every model and data file that the settings name, so that the files may move.
// A resumed run must have the same, except for:
//
//   checkpoint, log, eval, validation, device, out, batch.micro, batch.recompute, rollout.batch
//                                                                they change no result
//   reward.program[].workers, in_flight, timeout_s, memory_mb; reward.http[].url, parallel, batch, timeout_s
//                                                                addresses and limits of judges
//   optimizer.steps, data.epochs                                 must not be below the steps that are done
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

struct RunSettings {
  Json values;  // "optimizer.lr": 0.001, ...
  Json inputs;  // "model": SHA-256 of the content at that setting's paths
};

// Returns lines for the user about permitted changes of settings. Throws Error "OUT: KEY is NEW, the run was
// begun with OLD: ..." for a change that is not permitted.
std::vector<std::string> check_resumed(const std::string& out, const RunSettings& before,
                                       const RunSettings& now, int64_t steps_done);

// SHA-256 of the settings that decide the result.
std::string fingerprint_of(const RunSettings& settings);

}  // namespace r1
