// reward/reward_config.h: [reward] of a configuration: the weights of the terms (term.h), and the user's
// programs and endpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace r1 {

class ConfigFile;

// [[reward.program]]: a pool of processes that score rows (program/program_pool.h).
struct ProgramConfig {
  std::string name;
  std::vector<std::string> command;
  std::filesystem::path folder;  // the configuration file's folder, in which the processes run
  double weight = 1;
  double threshold = 1;  // the least score of a right answer, unless the program gives "correct"
  int64_t workers = 2;
  int64_t in_flight = 16;    // the largest number of unanswered rows per process
  double timeout_s = 30;     // per answer; the first one includes the start of the process
  int64_t memory_mb = 4096;  // address space of a process; 0: no limit
  bool truncated = false;    // true: also asked about answers that were cut off
};

// [[reward.http]]: an endpoint that scores rows (http_scorer.h).
struct HttpConfig {
  std::string name;
  std::string url;  // http[s]://HOST[:PORT]/PATH
  double weight = 1;
  double threshold = 1;
  int64_t parallel = 4;  // requests at a time
  int64_t batch = 32;    // rows per request
  double timeout_s = 60;
  bool truncated = false;
};

struct RewardConfig {
  double accuracy = 1, format = 0, overlong = 0, brevity = 0, language = 0, repetition = 0, length = 0;
  int64_t overlong_tokens = 0;  // length of the range below the cap; at least 1 if overlong is not 0
  std::string language_target = "en";
  int64_t repetition_words = 4;  // n of the n-grams
  int64_t length_target = 0;     // answer tokens; 0: the group's answers are compared
  std::vector<ProgramConfig> programs{};
  std::vector<HttpConfig> endpoints{};

  // Returns true if a program or an endpoint decides which answers are right, in place of the task's
  // verifier: if accuracy is 0 and there is one (reward.h).
  bool decided_outside() const { return accuracy == 0 && (!programs.empty() || !endpoints.empty()); }
};

// Reads [reward]. `max_tokens` is the cap on answer tokens. Throws Error that names the key.
RewardConfig read_reward_config(ConfigFile& config, int64_t max_tokens);

// Throws Error that names the command if a program does not exist on this machine.
void check_programs(const ConfigFile& config, const RewardConfig& reward);

// Returns the files that affect a program's answers: the words of its command that name a file in its folder.
std::vector<std::string> files_of(const ProgramConfig& program);

}  // namespace r1
