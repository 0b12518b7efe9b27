// tests/emulator/ops.h: what each instruction does.
#pragma once

#include <string>

#include "tests/emulator/machine.h"

namespace r1::emulator {

// One letter per operand says how wide its lanes are: p a predicate, h 16 bits, w 32, d 64.
struct Rule {
  std::string operands;
  Execute execute = nullptr;
  Flow flow = Flow::plain;
};

// The rule of an instruction with its modifiers, or nullptr. Loads, stores, conversions and what moves whole vectors are
// not among them: what they do depends on the registers too.
const Rule* find_rule(const std::string& name);

enum class Space { global, shared, local, generic };

// Loads and stores of `count` values of `bytes` (`sign`: extended with the sign) into registers of `lane_bytes`.
// Operands of a load: the registers, then the address; of a store: the address, then the values.
Execute find_load(Space space, int bytes, int lane_bytes, bool sign, int count);
Execute find_store(Space space, int bytes, int lane_bytes, int count);
// ld.param of a kernel: the registers; the offset is that of the value.
Execute find_parameter_load(int bytes, int lane_bytes, bool sign, int count);
// cvt.TO.FROM; widths of the registers in bytes. nullptr if it is not known.
Execute find_conversion(const std::string& rounding, const std::string& to, const std::string& from,
                        int to_bytes, int from_bytes);
// mov between lanes of `bytes`; and between one register and the parts of a list, low bits first.
Execute find_move(int bytes);
Execute find_unpack(int whole_bytes, int parts);
Execute find_pack(int whole_bytes, int parts);
// setp.COMPARE.TYPE, or nullptr.
Execute find_comparison(const std::string& compare, const std::string& type);

// ops_tensor.cc: matrices, boxes and what waits for them. nullptr if the name is none of them.
const Rule* find_tensor_rule(const std::string& name);

}  // namespace r1::emulator
