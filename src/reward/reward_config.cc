#include "reward/reward_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "formats/config_file.h"
#include "reward/language.h"
#include "reward/program/child_process.h"

namespace r1 {
namespace {

constexpr double kMaxWeight = 1e6;

// Reads a name, which becomes a key of "terms" in samples.jsonl and in r1 reward's rows.
std::string read_name(ConfigFile& config, const std::string& key, std::set<std::string>& taken) {
  std::string name = config.text(key);
  if (name.empty()) config.fail(key, "is empty");
  if (!taken.insert(name).second)
    config.fail(key, fmt::format("is \"{}\", which is another term's name", name));
  return name;
}

ProgramConfig read_program(ConfigFile& config, const std::string& at, std::set<std::string>& taken) {
  ProgramConfig p;
  p.name = read_name(config, at + ".name", taken);
  p.command = config.texts_or(at + ".command", {});
  if (p.command.empty())
    config.fail(at + ".command", "is missing; it is a list such as [\"python3\", \"check.py\"]");
  p.folder = config.beside("");
  p.weight = config.number_or(at + ".weight", p.weight, -kMaxWeight, kMaxWeight);
  p.threshold = config.number_or(at + ".threshold", p.threshold, -kMaxWeight, kMaxWeight);
  p.workers = config.integer_or(at + ".workers", p.workers, 1, 1024);
  p.in_flight = config.integer_or(at + ".in_flight", p.in_flight, 1, 1024);
  p.timeout_s = config.number_or(at + ".timeout_s", p.timeout_s, 0.01, 86400);
  p.memory_mb = config.integer_or(at + ".memory_mb", p.memory_mb, 0, int64_t{1} << 30);
  p.truncated = config.boolean_or(at + ".truncated", p.truncated);
  return p;
}

HttpConfig read_http(ConfigFile& config, const std::string& at, std::set<std::string>& taken) {
  HttpConfig h;
  h.name = read_name(config, at + ".name", taken);
  h.url = config.text(at + ".url");
  if (!h.url.starts_with("http://") && !h.url.starts_with("https://"))
    config.fail(at + ".url", "must begin with http:// or https://");
  h.weight = config.number_or(at + ".weight", h.weight, -kMaxWeight, kMaxWeight);
  h.threshold = config.number_or(at + ".threshold", h.threshold, -kMaxWeight, kMaxWeight);
  h.parallel = config.integer_or(at + ".parallel", h.parallel, 1, 256);
  h.batch = config.integer_or(at + ".batch", h.batch, 1, 4096);
  h.timeout_s = config.number_or(at + ".timeout_s", h.timeout_s, 0.01, 86400);
  h.truncated = config.boolean_or(at + ".truncated", h.truncated);
  return h;
}

}  // namespace

RewardConfig read_reward_config(ConfigFile& config, int64_t max_tokens) {
  RewardConfig r;
  r.accuracy = config.number_or("reward.accuracy", r.accuracy, -kMaxWeight, kMaxWeight);
  r.format = config.number_or("reward.format", r.format, -kMaxWeight, kMaxWeight);
  r.overlong = config.number_or("reward.overlong", r.overlong, 0, kMaxWeight);
  r.overlong_tokens =
      config.integer_or("reward.overlong_tokens", std::max<int64_t>(1, max_tokens / 4), 1, max_tokens);
  r.brevity = config.number_or("reward.brevity", r.brevity, 0, kMaxWeight);
  r.language = config.number_or("reward.language", r.language, -kMaxWeight, kMaxWeight);
  r.language_target = config.text_or("reward.language_target", r.language_target);
  try {
    count_language("", r.language_target);
  } catch (const Error& e) {
    config.fail("reward.language_target", e.what());
  }
  r.repetition = config.number_or("reward.repetition", r.repetition, 0, kMaxWeight);
  r.repetition_words = config.integer_or("reward.repetition_words", r.repetition_words, 1, 1000);
  r.length = config.number_or("reward.length", r.length, 0, kMaxWeight);
  r.length_target = config.integer_or("reward.length_target", r.length_target, 0, max_tokens);
  std::set<std::string> taken = {"accuracy", "format",     "overlong", "brevity",
                                 "language", "repetition", "length",   "total"};
  const int64_t programs = config.array_size("reward.program", false);
  for (int64_t i = 0; i < programs; ++i)
    r.programs.push_back(read_program(config, fmt::format("reward.program[{}]", i), taken));
  const int64_t endpoints = config.array_size("reward.http", false);
  for (int64_t i = 0; i < endpoints; ++i)
    r.endpoints.push_back(read_http(config, fmt::format("reward.http[{}]", i), taken));
  return r;
}

void check_programs(const ConfigFile& config, const RewardConfig& reward) {
  for (size_t i = 0; i < reward.programs.size(); ++i) {
    const ProgramConfig& program = reward.programs[i];
    const std::string& name = program.command.front();
    if (!find_program(name, program.folder).empty()) continue;
    config.fail(fmt::format("reward.program[{}].command", i),
                fmt::format("begins with {}, which is no program {}", name,
                            name.find('/') == std::string::npos
                                ? "in PATH (for one beside this file write ./" + name + ")"
                                : "that can be executed"));
  }
}

std::vector<std::string> files_of(const ProgramConfig& program) {
  std::vector<std::string> files;
  for (const std::string& word : program.command) {
    std::error_code none;
    const std::filesystem::path path = program.folder / word;
    const bool named = !word.empty() && !std::filesystem::path(word).is_absolute();
    if (named && std::filesystem::is_regular_file(path, none)) files.push_back(path.string());
  }
  return files;
}

}  // namespace r1
