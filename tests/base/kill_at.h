// tests/base/kill_at.h: ends a process at a counted change on disk, as a kill at that instant would.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "base/file_changes.h"

namespace r1::test {

inline int64_t changes_seen = 0, change_to_die_at = 0;

inline void on_change() {
  // No destructor runs and no buffer is flushed.
  if (++changes_seen == change_to_die_at) ::_exit(9);
}

// Returns how many changes act() makes on disk.
template <class Act>
int64_t count_changes(Act&& act) {
  changes_seen = change_to_die_at = 0;
  set_file_change_hook(on_change);
  std::forward<Act>(act)();
  set_file_change_hook(nullptr);
  return changes_seen;
}

// Runs act() in its own process, which ends at its n-th change. Returns false if act() finished before that.
template <class Act>
bool killed_at_change(int64_t n, Act&& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    changes_seen = 0;
    change_to_die_at = n;
    set_file_change_hook(on_change);
    std::forward<Act>(act)();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 9;
}

}  // namespace r1::test
