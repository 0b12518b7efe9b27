// reward/program/child_process.h: a process of the user's, with pipes to its standard streams and limits of its own.
//
// It runs in its own process group, without a shell. It is killed when this object ends and when the thread that
// made it ends, however that happens (PR_SET_PDEATHSIG): make it on a thread that lives as long as the object. Its group
// is killed with it, and by the guard if this process is killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "reward/program/process_guard.h"

namespace r1 {

// Finds the file that a command's first word names: with a / in it a path, which counts from `folder`; else it is looked
// for in PATH. "" if there is no such file, or if it cannot be executed.
std::string find_program(const std::string& name, const std::filesystem::path& folder);

class ChildProcess {
 public:
  // `memory_bytes` bounds the address space; 0: no limit. The process's working folder is `folder`. Throws Error
  // "cannot be started: REASON". `guard` outlives it.
  ChildProcess(const std::vector<std::string>& command, const std::filesystem::path& folder,
               int64_t memory_bytes, ProcessGuard& guard);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Our ends of the pipes; none of them blocks.
  int input() const { return input_; }
  int output() const { return output_; }
  int errors() const { return errors_; }
  pid_t pid() const { return pid_; }

  // Kills it and all of its group, and says how it ended: "exited with status 1", "was killed by signal 11
  // (Segmentation fault)", or "" if it was still at work. `wait_ms`: so long it may take to end by itself.
  std::string end(int wait_ms);

 private:
  ProcessGuard& guard_;
  pid_t pid_ = -1;
  int input_ = -1, output_ = -1, errors_ = -1;
};

}  // namespace r1
