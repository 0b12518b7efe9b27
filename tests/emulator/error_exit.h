// tests/emulator/error_exit.h: for tests of errors after which the process cannot go on.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "base/error.h"

namespace r1::emulator {

// Prints the Error that `work` throws and ends with status 3; with 0 if there is none.
template <class Work>
[[noreturn]] void end_with_error(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
    std::exit(3);
  }
  std::exit(0);
}

}  // namespace r1::emulator
