// tests/emulator/tensor_map.h: what the emulated driver writes into a CUtensorMap, and its copy engine reads.
#pragma once

#include <cstdint>

namespace r1::emulator {

// Dimensions begin with the one whose elements are neighbours in memory.
struct TensorMap {
  static constexpr uint32_t kMark = 0x52314D41;
  uint32_t mark, element_bytes, dimensions, swizzled;  // swizzled: lines of 128 bytes
  uint64_t data;
  uint64_t size[3];    // elements
  uint64_t stride[2];  // bytes, of all dimensions but the first
  uint32_t box[3];     // elements
};
static_assert(sizeof(TensorMap) <= 128);

}  // namespace r1::emulator
