// reward/program/process_guard.h: kills process groups if this process dies before it has done so, even by
// SIGKILL.
//
// A death signal (PR_SET_PDEATHSIG) reaches a child, but not the processes that the child has started. The
// guard is therefore a small process: this program again, which only reads the groups' numbers from a pipe
// and kills the groups when the pipe ends.
#pragma once

#include <sys/types.h>

namespace r1 {

class ProcessGuard {
 public:
  ProcessGuard();  // throws Error if the process cannot be started
  ~ProcessGuard();
  ProcessGuard(const ProcessGuard&) = delete;
  ProcessGuard& operator=(const ProcessGuard&) = delete;

  void watch(pid_t group);
  void forget(pid_t group);  // call it after the group has been killed

 private:
  void tell(char sign, pid_t group) const;
  int pipe_ = -1;
  pid_t pid_ = -1;
};

}  // namespace r1
