// reward/reward_config.h: [reward] of a configuration: the weights of the terms (term.h), and the user's own programs
// and endpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace r1 {

class ConfigFile;

// [[reward.program]]: a pool of processes that judge (program/program_pool.h).
struct ProgramConfig {
  std::string name;
  std::vector<std::string> command;
  std::filesystem::path folder;  // of the configuration file: the processes run in it
  double weight = 1;
  double threshold = 1;  // an answer is right from this score on, unless the program says "correct" itself
  int64_t workers = 2;
  int64_t in_flight = 16;    // rows that a process has at a time, at most
  double timeout_s = 30;     // for each answer; the start of a process is part of its first one
  int64_t memory_mb = 4096;  // address space of a process; 0: no limit
  bool truncated = false;    // asked about answers that were cut off, too
};

// [[reward.http]]: an endpoint that judges (http_scorer.h).
struct HttpConfig {
  std::string name;
  std::string url;  // http://HOST[:PORT]/PATH
  double weight = 1;
  double threshold = 1;
  int64_t parallel = 4;  // requests at a time
  int64_t batch = 32;    // rows of a request
  double timeout_s = 60;
  bool truncated = false;
};

struct RewardConfig {
  double accuracy = 1, format = 0, overlong = 0, brevity = 0, language = 0, repetition = 0, length = 0;
  int64_t overlong_tokens = 0;  // before the cap; at least 1 if overlong is not 0
  std::string language_target = "en";
  int64_t repetition_words = 4;  // n of the n-grams
  int64_t length_target = 0;     // answer tokens; 0: the group decides
  std::vector<ProgramConfig> programs{};
  std::vector<HttpConfig> endpoints{};

  // True if the first program (or, without one, the first endpoint) says which answers are right, in place of the
  // task's verifier: if accuracy is 0 and there is one.
  bool decided_outside() const { return accuracy == 0 && (!programs.empty() || !endpoints.empty()); }
};

// Reads [reward]; `max_tokens` is the cap on answer tokens. Throws Error at the key that is wrong.
RewardConfig read_reward_config(ConfigFile& config, int64_t max_tokens);

// Throws Error at the command of a program that does not exist on this machine.
void check_programs(const ConfigFile& config, const RewardConfig& reward);

// The files that decide what a program answers: the words of its command that name a file in its folder.
std::vector<std::string> files_of(const ProgramConfig& program);

}  // namespace r1
