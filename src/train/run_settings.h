// train/run_settings.h: what a run was begun with, and what of it may change when the run is gone on with.
//
// A run's directory keeps two tables: the value of every setting (defaults included, so that it does not
// matter how a file says a thing), and the content of every model and data file that the settings name (so
// that it does not matter where these lie). A resumed run must have the same, but for:
//
//   checkpoint, log, device, out, batch.micro, rollout.batch     they change no result
//   optimizer.steps, data.epochs                                 not below the steps that are done
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

struct RunSettings {
  Json values;  // "optimizer.lr": 0.001, ...
  Json inputs;  // "model": SHA-256 of what that setting's paths hold
};

// What to tell a person about the settings that have changed and may. Throws Error "OUT: KEY is NEW, the run
// was begun with OLD: ..." for one that may not.
std::vector<std::string> check_resumed(const std::string& out, const RunSettings& before,
                                       const RunSettings& now, int64_t steps_done);

// SHA-256 of the settings that decide the result.
std::string fingerprint_of(const RunSettings& settings);

}  // namespace r1
