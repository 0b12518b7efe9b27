// tensor/blocks_grids.h: the codebooks of the IQ2 and IQ3 types, packed (blocks_grids.cc).
#pragma once

#include <cstdint>

namespace r1 {

extern const uint16_t kIq2XxsGrid[256];
extern const uint16_t kIq2XsGrid[512];
extern const uint16_t kIq2SGrid[1024];
extern const uint16_t kIq3XxsGrid[256];
extern const uint16_t kIq3SGrid[512];

}  // namespace r1
