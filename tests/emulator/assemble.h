// tests/emulator/assemble.h: PTX made ready to run.
#pragma once

#include <memory>
#include <string>

#include "tests/emulator/machine.h"
#include "tests/emulator/ptx_text.h"

namespace r1::emulator {

// Throws Error, with the line, for what is not known. The code refers to the module's text.
std::unique_ptr<Code> assemble(const ModuleText& module, const std::string& kernel);

}  // namespace r1::emulator
