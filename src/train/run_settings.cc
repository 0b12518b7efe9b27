#include "train/run_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/hash.h"

namespace r1 {
namespace {

// Settings that change no result: places and frequencies of output, and the amount that is held at a time.
bool is_free(std::string_view key) {
  constexpr std::array<std::string_view, 5> kKeys = {"out", "device", "batch.micro", "batch.recompute",
                                                     "rollout.batch"};
  constexpr std::array<std::string_view, 4> kSections = {"checkpoint.", "log.", "eval", "validation."};
  // Addresses and limits of the user's own judges, which do not affect their scores.
  constexpr std::array<std::string_view, 7> kOfJudges = {
      ".workers", ".in_flight", ".timeout_s", ".memory_mb", ".parallel", ".batch", ".url"};
  if (key.starts_with("reward.program[") || key.starts_with("reward.http[")) {
    return std::ranges::any_of(kOfJudges, [&](std::string_view end) { return key.ends_with(end); });
  }
  return std::ranges::find(kKeys, key) != kKeys.end() ||
         std::ranges::any_of(kSections, [&](std::string_view s) { return key.starts_with(s); });
}

bool is_length(std::string_view key) {
  return key == "optimizer.steps" || key == "data.epochs";
}

std::string shown(const Json* value) {
  return value == nullptr ? "not set" : value->dump();
}

// A schedule that falls towards its last step is another one when that step moves.
std::string note_of_length(const std::string& key, const Json& before, const Json& now, const Json& values,
                           int64_t steps_done) {
  std::string note = fmt::format("{} is {}, it was {}", key, now.dump(), before.dump());
  const std::string schedule = values.get_string_or("optimizer.schedule", "constant");
  if (schedule == "constant") return note;
  return note +
         fmt::format(
             ": from step {} on the {} schedule falls towards the new last step; the result is that of "
             "neither length run at once",
             steps_done + 1, schedule);
}

}  // namespace

std::vector<std::string> check_resumed(const std::string& out, const RunSettings& before,
                                       const RunSettings& now, int64_t steps_done) {
  std::set<std::string> keys;
  for (const RunSettings* s : {&before, &now}) {
    for (const auto& [key, value] : s->values.members()) keys.insert(key);
  }
  std::vector<std::string> notes;
  for (const std::string& key : keys) {
    if (is_free(key)) continue;
    const Json *old_value = before.values.find(key), *new_value = now.values.find(key);
    const Json *old_input = before.inputs.find(key), *new_input = now.inputs.find(key);
    if (old_input != nullptr && new_input != nullptr) {
      if (*old_input == *new_input) continue;
      throw Error(fmt::format(
          "{}: {} ({}) does not hold what the run was begun with ({}): restore that, or name another out",
          out, key, shown(new_value), shown(old_value)));
    }
    if (old_value != nullptr && new_value != nullptr && *old_value == *new_value) continue;
    if (is_length(key) && old_value != nullptr && new_value != nullptr) {
      if (key == "optimizer.steps" && new_value->integer() < steps_done)
        throw Error(
            fmt::format("{}: optimizer.steps is {}, but the run has done {} steps: it must be at least that",
                        out, new_value->dump(), steps_done));
      notes.push_back(note_of_length(key, *old_value, *new_value, now.values, steps_done));
      continue;
    }
    throw Error(fmt::format("{}: {} is {}, the run was begun with {}: set it back, or name another out", out,
                            key, shown(new_value), shown(old_value)));
  }
  return notes;
}

std::string fingerprint_of(const RunSettings& settings) {
  std::string text;
  for (const auto& [key, value] : settings.values.members()) {
    if (is_free(key)) continue;
    const Json* input = settings.inputs.find(key);
    text += key + "=" + (input != nullptr ? *input : value).dump() + "\n";
  }
  return sha256_hex(text);
}

}  // namespace r1
