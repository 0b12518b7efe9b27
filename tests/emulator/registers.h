// tests/emulator/registers.h: few places for many registers.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/emulator/machine.h"

namespace r1::emulator {

// PTX has a register for every value, thousands in a large kernel. Gives those that are never needed at one time the same
// place, so that a warp's registers stay in the processor's caches. `outputs[i]`: how many operands instruction i sets, the
// first ones. Slots in the code are replaced, and its frame becomes smaller.
void share_places(Code& code, const std::vector<int>& outputs);

}  // namespace r1::emulator
