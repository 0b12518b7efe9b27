// reward/program/process_guard.h: kills process groups if this process dies without having done so, by SIGKILL too.
//
// A death signal (PR_SET_PDEATHSIG) reaches a child, but not what the child has started. So a small process stands by:
// this program again, which does nothing but read the groups' numbers from a pipe and kill them once the pipe ends.
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
  void forget(pid_t group);  // it has been killed

 private:
  void tell(char sign, pid_t group) const;
  int pipe_ = -1;
  pid_t pid_ = -1;
};

}  // namespace r1
