// cli/main.cc: how the program begins, and how errors end it.
#include <algorithm>
#include <new>
#include <string>

#include "base/error.h"
#include "base/machine.h"
#include "cli/command_line.h"
#include "cli/output.h"

namespace {

int fail(std::string line, int status) {
  std::ranges::replace(line, '\n', ' ');
  r1::write_stderr("r1: " + line + "\n");
  return status;
}

void check_cpu() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) {
    throw r1::Error("this CPU lacks AVX2, FMA or BMI2, which this build needs (x86-64-v3)");
  }
#endif
}

}  // namespace

int main(int argc, char** argv) {
  try {
    r1::prepare_standard_streams();
    check_cpu();
    return r1::run_command_line(argc, argv);
  } catch (const r1::Error& e) {
    return fail(e.what(), 2);
  } catch (const std::bad_alloc&) {
    const std::string scarce = r1::ulimit_advice();
    return fail("out of memory" +
                    (scarce.empty() ? ": lower --batch or --max-tokens, or give --memory-limit" : scarce),
                2);
  } catch (const std::exception& e) {  // BrokenInvariant among them
    return fail(std::string("internal error: ") + e.what(), 3);
  }
}
