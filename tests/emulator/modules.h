// tests/emulator/modules.h: the kernels of a program, which nvcc's code registers when it starts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/emulator/machine.h"
#include "tests/emulator/ptx_text.h"

namespace r1::emulator {

struct Module {
  const void* image = nullptr;  // the "fat binary"
  std::unique_ptr<ModuleText> text = {};
};

struct Kernel {
  Module* module = nullptr;
  std::string name;
  const void* host = nullptr;  // the function that the program calls
  std::unique_ptr<Code> code = {};
  int most_dynamic_shared = 48 << 10;
};

// The compute capability that the device claims, 90 unless R1_EMULATED_SM says otherwise.
int capability();

Module* add_module(const void* image);
void add_kernel(Module* module, const void* host, const std::string& name);
// By the host's function or the kernel's own address; nullptr if there is none.
Kernel* find_kernel(const void* function);
// Assembles the kernel if that was not done. Throws Error if the module has no PTX for the device, or PTX that is not known.
const Code& code_of(Kernel& kernel);

}  // namespace r1::emulator
