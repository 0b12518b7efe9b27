// reward/program/child_process.h: a child process with pipes to its standard streams and limits of its own.
//
// The child runs in its own process group, without a shell. It is killed when this object is destroyed and
// when the thread that started it ends for any reason (PR_SET_PDEATHSIG), so that thread must live as long as
// the object. The child's group is killed with it. If this process is killed, the guard kills the group.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "reward/program/process_guard.h"

namespace r1 {

// Finds the executable that a command's first word names. A name with a / is a path relative to `folder`; any
// other name is searched in PATH. Returns "" if there is no such file or it cannot be executed.
std::string find_program(const std::string& name, const std::filesystem::path& folder);

class ChildProcess {
 public:
  // Starts the command with `folder` as its working directory. `memory_bytes` limits the address space (0: no
  // limit). `guard` must outlive this object. Throws Error "cannot be started: REASON".
  ChildProcess(const std::vector<std::string>& command, const std::filesystem::path& folder,
               int64_t memory_bytes, ProcessGuard& guard);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // This process's ends of the pipes, which do not block.
  int input() const { return input_; }
  int output() const { return output_; }
  int errors() const { return errors_; }
  pid_t pid() const { return pid_; }

  // Waits at most `wait_ms` for the child to end, then kills it and its group. Returns how it ended by
  // itself, "exited with status 1" or "was killed by signal 11 (Segmentation fault)", or "" if it was still
  // running.
  std::string end(int wait_ms);

 private:
  ProcessGuard& guard_;
  pid_t pid_ = -1;
  int input_ = -1, output_ = -1, errors_ = -1;
};

}  // namespace r1
