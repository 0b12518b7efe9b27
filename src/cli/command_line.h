// cli/command_line.h: what main() calls.
#pragma once

namespace r1 {

// Parses the command line and runs the command that it names. Returns the exit status. Throws Error, also for
// a command line that is wrong.
int run_command_line(int argc, char** argv);

}  // namespace r1
