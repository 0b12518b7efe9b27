// tests/emulator/ptx_text.h: PTX, the assembly that nvcc makes of a .cu file, as statements.
//
// Source: NVIDIA's "Parallel Thread Execution ISA", version 9.0. Only what nvcc writes for this project is understood; the
// rest is an Error that quotes the line.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace r1::emulator {

struct Operand {
  enum class Kind { name, number, list, address, sink };
  Kind kind = Kind::name;
  std::string name = {};  // a register, a special register, a label or a symbol; the base of an address
  uint64_t bits = 0;      // a number: an integer in two's complement, or the bits of an f32 or f64
  int64_t offset = 0;     // of a symbol or an address
  std::vector<Operand> parts = {};  // of a list {a, b}, or of the coordinates of an address [map, {x, y}]
  std::string second = {};          // the predicate of "%r1|%p1"
};

struct Statement {
  enum class Kind { instruction, label, open, close, registers };
  Kind kind = Kind::instruction;
  std::string guard = {};  // the predicate of "@%p1", or ""
  bool guard_not = false;
  std::string name = {};  // the instruction with its modifiers, or the label
  std::vector<Operand> operands = {};
  int line = 0;  // in the module's text
  // registers: .reg .b32 %r<count>; the count is -1 for a single name
  int width = 0;  // bits; 1 for predicates
  int count = -1;
};

struct Variable {
  std::string name;
  int64_t align = 1, bytes = 0;
  bool dynamic = false;  // extern shared memory, whose size the launch says
};

// A kernel or a device function.
struct FunctionText {
  std::string name;
  bool kernel = false;
  std::vector<Variable> parameters, shared, local;
  int64_t max_threads = 0;  // .maxntid, 0 if not said
  std::string_view body;
  int body_line = 0;
};

struct ModuleText {
  std::string text;
  std::map<std::string, FunctionText> functions;
  std::vector<Variable> shared;
};

// Splits a module into functions. Bodies are read when they are needed.
ModuleText read_module(std::string text);
// Reads a body; its variables are added to the function's.
std::vector<Statement> read_body(FunctionText& function);

}  // namespace r1::emulator
