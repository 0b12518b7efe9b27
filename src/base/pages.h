// base/pages.h: hints about the pages of large blocks of memory. They change no value, and a system that does not
// know them ignores them.
#pragma once

#include <cstddef>

namespace r1 {

// For a block that is mapped on its own and will be written once, from end to end. Clearing a huge page is slow
// in virtual machines that take free memory back: the host then provides its 512 small pages one by one.
// Measured there for 3 GB: 5 to 10 seconds of CPU time with huge pages, 1.2 with small ones; reading the block
// afterwards is as fast.
void use_small_pages(void* at, size_t bytes);

// Provides the pages of a part of the block in one call, before they are written. This costs less than a fault
// for each.
void provide_pages(void* at, size_t bytes);

}  // namespace r1
